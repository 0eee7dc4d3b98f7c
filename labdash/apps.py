"""The one Django app of the hub."""

from importlib import import_module

from django.apps import AppConfig
from django.conf import settings

from labdash.queries.own_catalog import follow


class LabDashConfig(AppConfig):
    """Registers the system checks and what the lab itself adds to the catalog."""

    name = "labdash"
    verbose_name = "LabDash"

    def ready(self) -> None:
        """Let the checks register themselves, and the catalog have the lab's own entries."""
        import_module("labdash.checks")
        follow(settings.DATA_DIR)
