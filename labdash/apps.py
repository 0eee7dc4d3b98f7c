"""The one Django app of the hub."""

from django.apps import AppConfig


class LabDashConfig(AppConfig):
    name = "labdash"
    verbose_name = "LabDash"
