"""Schedules and their runs."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from labdash.admin.base import BOTH, StaysAsSeen, TellsRefusals, each, owner
from labdash.admin.plan_forms import ListField
from labdash.domain import schedules
from labdash.domain.errors import LabDashError
from labdash.models import PullSchedule, ScheduleRun


class PullScheduleForm(forms.ModelForm):
    """What a schedule does; the domain checks it whole."""

    model_names = ListField(label="Models", help_text="Where it is about these models.")
    nodes = ListField(label="Where", help_text="Nodes and tags; empty for all.")
    zone = forms.CharField(
        label="Time zone", max_length=60, required=False, help_text="Empty for that of the lab."
    )

    class Meta:
        model = PullSchedule
        fields = (
            "name",
            "what",
            "model_names",
            "nodes",
            "cron",
            "until",
            "zone",
            "at_once",
            "updates",
            "catch_up",
            "priority",
            "paused",
        )

    def clean(self) -> dict[str, Any]:
        """Refuse what can never be done, in the words of the domain."""
        data = super().clean() or {}
        data["zone"] = data.get("zone") or schedules.home_zone()
        if not self.errors:
            try:
                schedules.check(PullSchedule(pk=self.instance.pk, **data))
            except LabDashError as error:
                raise ValidationError(str(error)) from error
        return data


@admin.register(PullSchedule)
class PullScheduleAdmin(TellsRefusals):
    """What is due when: checked as on its page under Pulls."""

    form = PullScheduleForm
    list_display = ("name", "what", "cron", "until", "zone", "updates", "at_once", "paused")
    list_filter = ("what", "updates", "paused")
    search_fields = ("name",)
    readonly_fields = ("created_at", "changed_at", "decided_to")
    actions = ("run_now", "pause", "resume")

    def save_model(self, request: HttpRequest, obj: PullSchedule, form: Any, change: bool) -> None:
        """Store it through the domain, which also moves what waits for its next window."""
        fields = {name: form.cleaned_data[name] for name in PullScheduleForm.Meta.fields}
        if change:
            schedules.change(schedule=PullSchedule.objects.get(pk=obj.pk), **fields)
        else:
            obj.pk = schedules.create(**fields).pk

    def delete_model(self, request: HttpRequest, obj: PullSchedule) -> None:
        """Cancel what it asked for before it is forgotten."""
        schedules.delete(schedule=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[PullSchedule]) -> None:
        """Forget each, as above."""
        for schedule in queryset:
            schedules.delete(schedule=schedule)

    @admin.action(description="Run now", permissions=["change"], location=BOTH)
    def run_now(self, request: HttpRequest, queryset: QuerySet[PullSchedule]) -> None:
        """Do at once what they do at night."""
        user = owner(request)
        each(request, queryset, lambda row: schedules.run_now(schedule=row, user=user), "Begun")

    @admin.action(description="Pause", permissions=["change"], location=BOTH)
    def pause(self, request: HttpRequest, queryset: QuerySet[PullSchedule]) -> None:
        """Let them begin nothing more."""
        each(request, queryset, lambda row: schedules.pause(schedule=row), "Paused")

    @admin.action(description="Resume", permissions=["change"], location=BOTH)
    def resume(self, request: HttpRequest, queryset: QuerySet[PullSchedule]) -> None:
        """Let them be due again."""
        each(request, queryset, lambda row: schedules.resume(schedule=row), "Resumed")


@admin.register(ScheduleRun)
class ScheduleRunAdmin(StaysAsSeen):
    """Each time that a schedule was due, and what came of it."""

    list_display = ("schedule", "due_at", "state", "started_at", "finished_at", "by_hand", "text")
    list_filter = ("state", "by_hand", "schedule")
    list_select_related = ("schedule",)
    search_fields = ("schedule__name", "text")
    date_hierarchy = "due_at"
