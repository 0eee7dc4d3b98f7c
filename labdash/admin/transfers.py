"""What goes from machine to machine; its secrets are not shown."""

from typing import ClassVar

from django.contrib import admin

from labdash.admin.base import StaysAsSeen
from labdash.models import Transfer


@admin.register(Transfer)
class TransferAdmin(StaysAsSeen):
    """Tries to get models from within the lab."""

    list_display = ("job", "giver", "asked_at", "opened_at", "ended_at", "failed", "reason")
    list_filter = ("failed", "giver__node")
    list_select_related = ("job__instance__node", "giver__node")
    search_fields = ("model", "reason")
    date_hierarchy = "asked_at"
    exclude: ClassVar = ("secret",)
