"""The whole lab in Django's admin. Actions call the domain; what nodes report is read-only."""

from django.contrib import admin

from labdash.admin import (
    guide,
    library,
    loads,
    nodes,
    planning,
    pulls,
    records,
    schedules,
    shelf,
    transfers,
    updates,
)

admin.site.site_header = "LabDash administration"
admin.site.site_title = "LabDash"
admin.site.index_title = "Everything that is stored"

__all__ = [
    "guide",
    "library",
    "loads",
    "nodes",
    "planning",
    "pulls",
    "records",
    "schedules",
    "shelf",
    "transfers",
    "updates",
]
