"""Admin pages of what is published upstream, and of updates."""

from typing import ClassVar

from django.contrib import admin

from labdash.admin.base import StaysAsSeen
from labdash.models import Update, UpstreamHost, UpstreamManifest, UpstreamTag


@admin.register(UpstreamTag)
class UpstreamTagAdmin(StaysAsSeen):
    """Names as they are published."""

    list_display = ("name", "state", "manifest", "behind", "checked_at", "next_at", "error")
    list_filter = ("state", "host")
    search_fields = ("name",)
    list_select_related: ClassVar = ["manifest"]


@admin.register(UpstreamManifest)
class UpstreamManifestAdmin(StaysAsSeen):
    """Versions that are or were published."""

    list_display = ("digest", "requires", "first_seen_at")
    search_fields = ("digest",)


@admin.register(UpstreamHost)
class UpstreamHostAdmin(StaysAsSeen):
    """Registries that gave no answer."""

    list_display = ("host", "failures", "down_since", "not_before_at", "error")
    search_fields = ("host",)


@admin.register(Update)
class UpdateAdmin(StaysAsSeen):
    """Updates and what became of them; they are begun and taken back on their own page."""

    list_display = ("model", "instance", "state", "reason", "requested_by", "created_at")
    list_filter = ("state", "instance__node")
    search_fields = ("model",)
    list_select_related: ClassVar = ["instance__node", "requested_by"]
