"""Schedules and their runs."""

from django.contrib import admin

from labdash.admin.base import StaysAsSeen
from labdash.models import PullSchedule, ScheduleRun


@admin.register(PullSchedule)
class PullScheduleAdmin(StaysAsSeen):
    """What is due when. Schedules are made and changed on their own page, under Pulls."""

    list_display = ("name", "what", "cron", "until", "zone", "updates", "paused", "decided_to")
    list_filter = ("what", "updates", "paused")
    search_fields = ("name",)


@admin.register(ScheduleRun)
class ScheduleRunAdmin(StaysAsSeen):
    """Each time that a schedule was due, and what came of it."""

    list_display = ("schedule", "due_at", "state", "started_at", "finished_at", "by_hand", "text")
    list_filter = ("state", "by_hand", "schedule")
    list_select_related = ("schedule",)
    search_fields = ("schedule__name", "text")
    date_hierarchy = "due_at"
