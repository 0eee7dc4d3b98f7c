"""What is wanted, the plans that were applied, and how good their predictions were."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from labdash.admin.base import StaysAsSeen, TellsRefusals, size_column
from labdash.admin.plan_forms import DeploymentForm
from labdash.domain import deployments
from labdash.models import Deployment, Plan, PlanItem, Prediction


@admin.register(Deployment)
class DeploymentAdmin(TellsRefusals):
    """What the lab shall serve: checked as on the page of the planner."""

    form = DeploymentForm
    list_display = (
        "name",
        "model",
        "priority",
        "quant_floor",
        "quant_wish",
        "ctx_floor",
        "ctx_wish",
        "residency",
        "replicas",
    )
    list_filter = ("residency", "priority", "prefer", "offload_allowed")
    search_fields = ("name", "model")
    ordering = ("priority", "name")
    readonly_fields = ("created_at", "changed_at")

    def save_model(self, request: HttpRequest, obj: Deployment, form: Any, change: bool) -> None:
        """Store it through the domain, which also keeps the names in others' lists true."""
        fields = {name: form.cleaned_data[name] for name in DeploymentForm.Meta.fields}
        if change:
            stored = Deployment.objects.get(pk=obj.pk)
            deployments.change(deployment=stored, **fields)
        else:
            obj.pk = deployments.create(**fields).pk

    def delete_model(self, request: HttpRequest, obj: Deployment) -> None:
        """Forget it through the domain, as above."""
        deployments.delete(deployment=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Deployment]) -> None:
        """Forget each, as above."""
        for deployment in queryset:
            deployments.delete(deployment=deployment)


@admin.register(Plan)
class PlanAdmin(StaysAsSeen):
    """Plans that were applied. They are made and replaced on the page of the planner."""

    list_display = ("__str__", "state", "created_at", "applied_at", "requested_by", "items", "why")
    list_filter = ("state",)
    list_select_related = ("requested_by",)
    search_fields = ("why", "items__deployment_name", "items__model")
    date_hierarchy = "created_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Plan]:
        """Count the items with the list."""
        rows: QuerySet[Plan] = super().get_queryset(request)
        return rows.annotate(items_counted=Count("items", distinct=True))

    @admin.display(description="items", ordering="items_counted")
    def items(self, plan: Plan) -> int:
        """Count the items."""
        return int(getattr(plan, "items_counted", 0))


@admin.register(PlanItem)
class PlanItemAdmin(StaysAsSeen):
    """Parts of plans: what became of each, and what was seen of it."""

    list_display = (
        "__str__",
        "plan",
        "wish",
        "state",
        "verdict",
        "quant",
        "ctx",
        "load_order",
        "mended",
        "reason",
    )
    list_filter = ("state", "verdict", "wish", "instance__node")
    list_select_related = ("plan", "instance__node")
    search_fields = ("deployment_name", "model", "alias", "instance__node__slug")


@admin.register(Prediction)
class PredictionAdmin(StaysAsSeen):
    """What was predicted of loads, and what the driver showed."""

    list_display = (
        "model",
        "gpu_name",
        "quant",
        "ctx",
        size_column("buffers_bytes", "buffers"),
        size_column("overhead_bytes", "overhead"),
        size_column("observed_bytes", "seen"),
        "driver",
        "engine",
        "at",
    )
    list_filter = ("gpu_name", "driver", "engine")
    search_fields = ("model", "gpu_name", "instance__node__slug")
    date_hierarchy = "at"
