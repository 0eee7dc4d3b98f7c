"""What lies in the stores of servers and what was done there, to be looked at."""

from django.contrib import admin

from labdash.admin.base import StaysAsSeen, size_column
from labdash.models import Manifest, Move, NameJob


@admin.register(Manifest)
class ManifestAdmin(StaysAsSeen):
    """Which files a name stands for, on each server whose store can be read."""

    list_display = ("digest", "instance")
    list_filter = ("instance__node",)
    list_select_related = ("instance__node",)
    search_fields = ("digest", "instance__node__slug")


@admin.register(NameJob)
class NameJobAdmin(StaysAsSeen):
    """Names that were copied, renamed and deleted. The newest of each server are kept."""

    list_display = (
        "model",
        "instance",
        "act",
        "target",
        "state",
        size_column("frees_bytes", "frees"),
        "created_at",
        "why",
        "meaning",
    )
    list_filter = ("state", "act", "instance__node")
    list_select_related = ("instance__node",)
    search_fields = ("model", "target", "reason", "instance__node__slug")
    date_hierarchy = "created_at"


@admin.register(Move)
class MoveAdmin(StaysAsSeen):
    """Models that go from one machine to another."""

    list_display = ("model", "instance", "target", "state", "created_at", "reason")
    list_filter = ("state", "instance__node")
    list_select_related = ("instance__node", "target__node")
    search_fields = ("model", "reason", "instance__node__slug", "target__node__slug")
    date_hierarchy = "created_at"
