"""Plans that were applied, what became of each part, and what was seen beside the predictions."""

from typing import ClassVar

from django.conf import settings
from django.db import models

from labdash.models.deployment import Deployment, Residency
from labdash.models.load import LoadJob
from labdash.models.node import Gpu, Instance
from labdash.models.pull import PullJob

# Why an item failed that its owner stopped.
CANCELLED = "Cancelled."


class PlanState(models.TextChoices):
    APPLYING = "applying", "being applied"
    CURRENT = "current", "in force"
    REPLACED = "replaced", "replaced"


# Of these at most one plan is.
IN_FORCE = (PlanState.APPLYING, PlanState.CURRENT)


class PlanQuerySet(models.QuerySet["Plan"]):
    """Reads that more than one page needs."""

    def in_force(self) -> "PlanQuerySet":
        """Return the plan that is being applied or kept up, if there is one."""
        return self.filter(state__in=IN_FORCE)


class Plan(models.Model):
    """A plan from the moment of its application on.

    ``content`` is what ``manage.py plan --json`` printed of it. ``returns_to`` is set where going
    back made it: the plan whose placements it repeats. ``instead_of`` is the plan that comes back
    once no GPU is given back to its owner any more. ``without`` holds the keys of the GPUs that
    were given back when it was made, ``others`` what other programs held then, by device and
    name. ``resumed_at`` is when the owner last told LabDash to keep it up, whatever was done by
    hand before.
    """

    state = models.CharField(max_length=10, choices=PlanState, default=PlanState.APPLYING)
    created_at = models.DateTimeField(auto_now_add=True)
    applied_at = models.DateTimeField(null=True, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    why = models.CharField(max_length=200, blank=True)
    content = models.JSONField(default=dict)
    returns_to = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="+")
    instead_of = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="+")
    without = models.JSONField(default=list, blank=True)
    others = models.JSONField(default=dict, blank=True)
    resumed_at = models.DateTimeField(null=True, blank=True)

    objects = PlanQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"plan {self.pk}"


class ItemWish(models.TextChoices):
    SERVE = "serve", "serve"
    UNLOAD = "unload", "unload"


class ItemState(models.TextChoices):
    """The step at which an item is. ``ready``: done, and for residents seen in memory."""

    WAITING = "waiting", "waits"
    PULLING = "pulling", "pulling"
    CREATING = "creating", "creating"
    LOADING = "loading", "loading"
    UNLOADING = "unloading", "unloading"
    READY = "ready", "done"
    FAILED = "failed", "failed"


# Nothing more is done about these.
ITEM_OVER = (ItemState.READY, ItemState.FAILED)


class Verdict(models.TextChoices):
    """What memory shows of an item beside what the plan says."""

    UNCHECKED = "", "not checked yet"
    AS_PLANNED = "as-planned", "as planned"
    MORE = "more", "more than planned"
    SPILLED = "spilled", "spilled to the CPU"
    WRONG_GPU = "wrong-gpu", "on another GPU"
    EVICTED = "evicted", "evicted"
    NOT_LOADED = "not-loaded", "not loaded"
    CANNOT_CHECK = "cannot-check", "cannot be checked"


class PlanItem(models.Model):
    """One placement of a plan, or a model that the plan ends.

    ``model`` is what is pulled, ``alias`` the name with the options that is loaded and served.
    ``layers`` and ``bytes`` are by device as the planner writes them (``rog/0``, ``rog/cpu``),
    overheads among the bytes and in ``overheads`` apart. ``predicted_bytes`` is what Ollama itself
    takes it for, ``left_out_bytes`` what its sizes of a loaded model lack, ``doubt_bytes`` by how
    much a GPU's figure may differ because nobody measured such a card. ``shares`` names the
    deployment whose runner serves this one too. ``attempts`` counts the orders of the present step
    that came to nothing, ``next_at`` is when to try again. ``cleared`` tells that nothing loaded
    otherwise than planned stands in its way any more.
    ``mended`` counts what the reconcile step did about it since ``mended_at`` began an hour.
    ``learned_from`` is the load job whose figures were remembered.
    """

    plan = models.ForeignKey(Plan, models.CASCADE, related_name="items")
    deployment = models.ForeignKey(
        Deployment, models.SET_NULL, null=True, blank=True, related_name="items"
    )
    deployment_name = models.CharField(max_length=60, blank=True)
    replica = models.PositiveSmallIntegerField(default=0)
    wish = models.CharField(max_length=8, choices=ItemWish, default=ItemWish.SERVE)
    instance = models.ForeignKey(Instance, models.CASCADE, related_name="plan_items")
    model = models.CharField(max_length=350)
    alias = models.CharField(max_length=350, blank=True)
    quant = models.CharField(max_length=30, blank=True)
    residency = models.CharField(max_length=10, choices=Residency, default=Residency.RESIDENT)
    ctx = models.PositiveIntegerField(null=True, blank=True)
    parallel = models.PositiveSmallIntegerField(default=1)
    kv_type = models.CharField(max_length=8, default="f16")
    num_batch = models.PositiveIntegerField(null=True, blank=True)
    num_gpu = models.IntegerField(null=True, blank=True)
    main_gpu = models.PositiveSmallIntegerField(null=True, blank=True)
    load_order = models.PositiveSmallIntegerField(default=1)
    layers = models.JSONField(default=dict)
    bytes = models.JSONField(default=dict)
    overheads = models.JSONField(default=dict, blank=True)
    host_bytes = models.BigIntegerField(null=True, blank=True)
    predicted_bytes = models.BigIntegerField(null=True, blank=True)
    margin_bytes = models.BigIntegerField(null=True, blank=True)
    left_out_bytes = models.BigIntegerField(null=True, blank=True)
    doubt_bytes = models.BigIntegerField(default=0)
    shares = models.CharField(max_length=60, blank=True)
    tokens_per_s = models.FloatField(null=True, blank=True)
    reasons = models.JSONField(default=list)

    state = models.CharField(max_length=10, choices=ItemState, default=ItemState.WAITING)
    reason = models.CharField(max_length=1000, blank=True)
    pull_job = models.ForeignKey(
        PullJob, models.SET_NULL, null=True, blank=True, related_name="plan_items"
    )
    load_job = models.ForeignKey(
        LoadJob, models.SET_NULL, null=True, blank=True, related_name="plan_items"
    )
    sent_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(null=True, blank=True)
    cleared = models.BooleanField(default=False)
    verdict = models.CharField(
        max_length=12, choices=Verdict, default=Verdict.UNCHECKED, blank=True
    )
    verdict_text = models.CharField(max_length=500, blank=True)
    observed = models.JSONField(default=dict)
    checked_at = models.DateTimeField(null=True, blank=True)
    verdict_since = models.DateTimeField(null=True, blank=True)
    learned_from = models.BigIntegerField(null=True, blank=True)
    mended = models.PositiveSmallIntegerField(default=0)
    mended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["plan", "instance", "load_order", "pk"]

    def __str__(self) -> str:
        return f"{self.deployment_name or self.model} on {self.instance}"

    @property
    def served_name(self) -> str:
        """Name under which clients ask for it."""
        return self.alias or self.model


class Prediction(models.Model):
    """What was predicted of one load on one GPU, and what was seen there.

    ``buffers_bytes`` are weights, cache and compute buffer; ``overhead_bytes`` what was added for
    the process. ``observed_bytes`` is the driver's figure for the process.
    """

    at = models.DateTimeField()
    instance = models.ForeignKey(Instance, models.CASCADE, related_name="predictions")
    gpu = models.ForeignKey(Gpu, models.SET_NULL, null=True, blank=True, related_name="predictions")
    gpu_name = models.CharField(max_length=100)
    driver = models.CharField(max_length=40, blank=True)
    engine = models.CharField(max_length=40, blank=True)
    model = models.CharField(max_length=350)
    quant = models.CharField(max_length=30, blank=True)
    ctx = models.PositiveIntegerField(null=True, blank=True)
    buffers_bytes = models.BigIntegerField()
    overhead_bytes = models.BigIntegerField()
    observed_bytes = models.BigIntegerField()

    class Meta:
        ordering: ClassVar = ["-at", "-pk"]
        # Each reader takes the newest first.
        indexes: ClassVar = [models.Index(fields=["-at", "-id"])]

    def __str__(self) -> str:
        return f"{self.model} on {self.gpu_name}, {self.at:%Y-%m-%d %H:%M}"

    @property
    def error_bytes(self) -> int:
        """How much more was seen than predicted."""
        return self.observed_bytes - self.buffers_bytes - self.overhead_bytes
