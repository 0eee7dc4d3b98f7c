"""The one Django app of the hub."""

from importlib import import_module

from django.apps import AppConfig


class LabDashConfig(AppConfig):
    """Registers the system checks."""

    name = "labdash"
    verbose_name = "LabDash"

    def ready(self) -> None:
        """Let the checks register themselves, once settings and apps are there."""
        import_module("labdash.checks")
