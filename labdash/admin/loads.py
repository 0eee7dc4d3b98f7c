"""Load jobs, to be looked at: they are made and ended on the pages."""

from django.contrib import admin

from labdash.admin.base import StaysAsSeen, size_column
from labdash.models import LoadJob


@admin.register(LoadJob)
class LoadJobAdmin(StaysAsSeen):
    """What was loaded, kept and unloaded by hand. The newest of each server are kept."""

    list_display = (
        "model",
        "instance",
        "wish",
        "state",
        "context",
        "keep_s",
        "main_gpu",
        size_column("size_bytes", "size"),
        size_column("size_vram_bytes", "on GPUs"),
        "created_at",
        "meaning",
    )
    list_filter = ("state", "wish", "instance__node")
    list_select_related = ("instance__node",)
    search_fields = ("model", "reason", "instance__node__slug")
    date_hierarchy = "created_at"
