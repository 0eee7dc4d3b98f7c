"""Which machines can give a model to another one, and why the others cannot."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, Q

from labdash import live
from labdash.models import InstalledModel, Instance, Manifest, PullJob, PullState, Transfer
from labdash.models.node import Node
from labdash.queries.heard import heard_at
from labdash.queries.trying import may_be_named

# Later than pages say it, as for pulls.
SEEN_WITHIN = timedelta(seconds=20)
# A machine that gave to all at once would be slow for each; those who have it give on.
MOST_RECEIVERS = 2
# A node reports on a pull at least every 5 s.
WORD_WITHIN = timedelta(seconds=60)
# It lists what it has within seconds of a pull.
LISTED_WITHIN = timedelta(seconds=30)
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A model on another machine, and what speaks against taking it from there."""

    row: InstalledModel
    receivers: int = 0
    is_seen: bool = True
    is_readable: bool = True
    has_failed: str = ""

    def why_not(self, digest: str | None) -> str:
        """Return why it does not serve, nothing where it may; ``digest`` is what is wanted."""
        slug = self.row.instance.node.slug
        if digest not in {None, self.row.digest}:
            return f"{slug} has another version than is published."
        if self.row.instance.node.agentless:
            return f"{slug} has it, but no worker that could give it."
        if not self.is_readable:
            return f"{slug} has it, but its worker may not read the files of Ollama."
        if self.has_failed:
            return self.has_failed
        if self.row.instance.node.paused:
            return f"{slug} has it and is paused."
        return "" if self.is_seen else f"{slug} has it and does not report."


def read_copies(job: PullJob, *, now: datetime) -> list[Copy]:
    """Return where the model of a job is, the best place first. Raises ``live.StoreDown``."""
    found = InstalledModel.objects.filter(name__iexact=job.model, is_cloud=False)
    others = found.exclude(instance=job.instance_id).select_related("instance__node")
    # Nodes tell what they like, and of that an order bears little.
    rows = [row for row in others if _DIGEST.fullmatch(row.digest) and may_be_named(row.name)]
    if not rows:
        return []
    seen = _seen([row.instance.node for row in rows], now)
    failed = dict(job.transfers.filter(failed=True).values_list("giver_id", "reason"))
    active = Transfer.objects.active().exclude(job=job).values_list("giver__node_id", flat=True)
    receivers = Counter(active)
    readable = set(
        Manifest.objects.filter(digest__in={row.digest for row in rows}).values_list(
            "instance_id", "digest"
        )
    )
    copies = [
        Copy(
            row=row,
            receivers=receivers[row.instance.node_id],
            is_seen=row.instance.node.slug in seen,
            is_readable=(row.instance_id, row.digest) in readable,
            has_failed=failed.get(row.instance_id, ""),
        )
        for row in rows
    ]
    here = job.instance.node_id
    return sorted(copies, key=lambda each: (each.row.instance.node_id != here, each.receivers))


def fetching(job: PullJob, *, now: datetime) -> PullJob | None:
    """Return the job that brings the same model to a machine which can then give it."""
    others = PullJob.objects.active().filter(model__iexact=job.model, sent_at__isnull=False)
    wanted = others.filter(cancel_requested=False, pause_requested=False, retry_at=None)
    failed = set(job.transfers.filter(failed=True).values_list("giver_id", flat=True))
    for other in wanted.exclude(pk=job.pk).select_related("instance__node").order_by("sent_at"):
        heard = max(each for each in (other.sent_at, other.heartbeat_at) if each is not None)
        if (
            now - heard < WORD_WITHIN
            and other.instance_id not in failed
            and other.instance_id != job.instance_id
            and may_give(other.instance)
        ):
            return other
    return None


def has_just_got(job: PullJob, *, now: datetime) -> str | None:
    """Return the machine on which the same model was installed, and which did not list it yet."""
    ended = PullJob.objects.filter(
        Q(instance__inventory_at=None) | Q(instance__inventory_at__lt=F("finished_at")),
        model__iexact=job.model,
        state=PullState.INSTALLED,
        finished_at__gt=now - LISTED_WITHIN,
    ).exclude(instance=job.instance_id)
    rows = [each.instance for each in ended.select_related("instance__node")]
    return next((each.node.slug for each in rows if may_give(each)), None)


def may_give(instance: Instance) -> bool:
    """Tell whether the files of a server can be read by a worker of its machine."""
    told = instance.shelf if isinstance(instance.shelf, dict) else {}
    is_read = told.get("partial_bytes") is not None
    return is_read and not (instance.node.agentless or instance.node.paused)


def _seen(nodes: Iterable[Node], now: datetime) -> set[str]:
    by_slug = {node.slug: node for node in nodes}
    states = live.read_states(by_slug)
    heard = {slug: heard_at(node, states.get(slug)) for slug, node in by_slug.items()}
    return {slug for slug, at in heard.items() if at and now - at <= SEEN_WITHIN}
