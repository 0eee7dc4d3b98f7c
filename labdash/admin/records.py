"""Samples, problems, and what guards the door."""

from django.contrib import admin

from labdash.admin.base import StaysAsSeen, size_column
from labdash.models import (
    Attempt,
    GpuPeriod,
    GpuSample,
    Invitation,
    Membership,
    OneTimeCode,
    Problem,
)


@admin.register(GpuSample)
class GpuSampleAdmin(StaysAsSeen):
    """GPUs over the last hour."""

    list_display = (
        "gpu",
        "at",
        size_column("memory_used_bytes", "memory used"),
        "utilization_percent",
        "temperature_celsius",
        "power_watts",
    )
    list_filter = ("gpu__node",)
    list_select_related = ("gpu__node",)
    search_fields = ("gpu__name", "gpu__uuid", "gpu__node__slug")
    date_hierarchy = "at"
    # Counting all samples would cost more than the page.
    show_full_result_count = False


@admin.register(GpuPeriod)
class GpuPeriodAdmin(StaysAsSeen):
    """What was made of older samples."""

    list_display = (
        "gpu",
        "length_s",
        "at",
        size_column("memory_used_bytes", "memory used"),
        size_column("memory_peak_bytes", "memory peak"),
        "utilization_percent",
        "temperature_celsius",
        "power_watts",
        "samples",
    )
    list_filter = ("length_s", "gpu__node")
    list_select_related = ("gpu__node",)
    search_fields = ("gpu__name", "gpu__uuid", "gpu__node__slug")
    # Counting a year's periods would cost more than the page.
    show_full_result_count = False


@admin.register(Problem)
class ProblemAdmin(StaysAsSeen):
    """What is wrong and since when."""

    list_display = ("text", "node_slug", "code", "subject", "since")
    list_filter = ("code", "node_slug")
    search_fields = ("text", "node_slug", "subject")


@admin.register(OneTimeCode)
class OneTimeCodeAdmin(StaysAsSeen):
    """One-time codes: deleting one kills it. What they are is stored nowhere."""

    list_display = ("purpose", "created_at", "expires_at")
    list_filter = ("purpose",)
    fields = ("purpose", "created_at", "expires_at")


@admin.register(Invitation)
class InvitationAdmin(StaysAsSeen):
    """Lines that were shown and not used: deleting one kills it."""

    list_display = ("node", "created_at", "expires_at")
    search_fields = ("node__slug",)
    fields = ("node", "created_at", "expires_at")


@admin.register(Membership)
class MembershipAdmin(StaysAsSeen):
    """Machines that joined: deleting one ends its rights within seconds."""

    list_display = ("node", "hostname", "address", "joined_at")
    search_fields = ("node__slug", "hostname")
    fields = ("node", "hostname", "address", "joined_at")


@admin.register(Attempt)
class AttemptAdmin(StaysAsSeen):
    """Failed attempts to get in: deleting them lets an address try again."""

    list_display = ("address", "at")
    search_fields = ("address",)
    date_hierarchy = "at"
