"""Pull jobs."""

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from labdash.admin.base import BOTH, TellsRefusals, each, owner, size_column
from labdash.admin.forms import PullJobForm
from labdash.domain import pulls
from labdash.models import PullJob, PullSettings


@admin.register(PullJob)
class PullJobAdmin(TellsRefusals):
    """Pull jobs. One is added here as on the page of pulls, and never changed by hand."""

    form = PullJobForm
    list_display = (
        "model",
        "instance",
        "state",
        size_column("done_bytes", "done"),
        size_column("total_bytes", "of"),
        "attempt",
        "priority",
        "created_at",
        "reason",
    )
    list_filter = ("state", "held", "instance__node")
    list_select_related = ("instance__node",)
    search_fields = ("model", "reason", "instance__node__slug")
    autocomplete_fields = ("instance",)
    date_hierarchy = "created_at"
    actions = ("cancel", "pause", "resume", "retry")

    def has_change_permission(self, request: HttpRequest, obj: PullJob | None = None) -> bool:
        """Only its node changes a job; the list stays open for actions."""
        return obj is None and super().has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: PullJob, form: Any, change: bool) -> None:
        """Queue it, or point at the one that is under way."""
        job = pulls.request_pull(instance=obj.instance, model=obj.model, user=owner(request))
        obj.pk = job.pk

    def delete_model(self, request: HttpRequest, obj: PullJob) -> None:
        """Stop it before it is forgotten."""
        pulls.abandon(job=obj)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[PullJob]) -> None:
        """Stop each, as above, or delete none."""
        with transaction.atomic():
            for job in queryset.select_related("instance__node"):
                pulls.abandon(job=job)
            super().delete_queryset(request, queryset)

    @admin.action(description="Cancel pulls", permissions=["view"], location=BOTH)
    def cancel(self, request: HttpRequest, queryset: QuerySet[PullJob]) -> None:
        """Stop them."""
        jobs = queryset.select_related("instance__node")
        each(request, jobs, lambda job: pulls.cancel_pull(job=job), "Cancelling")

    @admin.action(description="Pause pulls", permissions=["view"], location=BOTH)
    def pause(self, request: HttpRequest, queryset: QuerySet[PullJob]) -> None:
        """Hold them until somebody lets them go on."""
        jobs = queryset.select_related("instance__node")
        each(request, jobs, lambda job: pulls.pause_pull(job=job), "Pausing")

    @admin.action(description="Resume pulls", permissions=["view"], location=BOTH)
    def resume(self, request: HttpRequest, queryset: QuerySet[PullJob]) -> None:
        """Let them go on now, whatever kept them."""
        jobs = queryset.select_related("instance__node")
        each(request, jobs, lambda job: pulls.resume_pull(job=job), "Resumed")

    @admin.action(description="Retry pulls", permissions=["view"], location=BOTH)
    def retry(self, request: HttpRequest, queryset: QuerySet[PullJob]) -> None:
        """Ask again for those that failed or were cancelled."""
        jobs = queryset.select_related("instance__node")
        each(
            request, jobs, lambda job: pulls.retry_pull(job=job, user=owner(request)), "Asked again"
        )


@admin.register(PullSettings)
class PullSettingsAdmin(TellsRefusals):
    """What holds for all pulls: one row."""

    list_display = ("__str__", "neighbours", "cache", "unused", "check_updates")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """There is one row, and no second."""
        return super().has_add_permission(request) and not PullSettings.objects.exists()

    def save_model(self, request: HttpRequest, obj: PullSettings, form: Any, change: bool) -> None:
        """Keep it the one row that is read."""
        obj.pk = 1
        super().save_model(request, obj, form, change)
