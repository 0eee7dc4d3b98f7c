"""Forms of the admin: sizes are typed in GiB, names and addresses are checked as everywhere."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from labdash.domain.errors import LabDashError
from labdash.domain.names import parse_model_name
from labdash.domain.nodes import check_url
from labdash.models import Gpu, Instance, Node, PullJob
from labdash.wording import GIB


class GibField(forms.FloatField):
    """Bytes, typed and shown in GiB."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("min_value", 0.1)
        super().__init__(max_value=2**20, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        """Show stored bytes in GiB; what was typed stays as it was typed."""
        return round(value / GIB, 2) if isinstance(value, int) else value

    def clean(self, value: Any) -> int | None:
        """Return bytes."""
        number = super().clean(value)
        return None if number is None else round(number * GIB)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare as shown, or rounding alone would be a change."""
        return super().has_changed(self.prepare_value(initial), data)


class NodeForm(forms.ModelForm):
    """A node; its RAM is declared only where nobody measures it."""

    declared_ram_bytes = GibField(
        label="RAM in GiB", required=False, help_text="Of agentless nodes; others measure it."
    )

    class Meta:
        model = Node
        fields = ("slug", "kind", "agentless", "paused", "declared_ram_bytes")


class GpuForm(forms.ModelForm):
    """A declared GPU."""

    memory_total_bytes = GibField(label="Memory in GiB")

    class Meta:
        model = Gpu
        fields = ("name", "memory_total_bytes", "unified")


class InstanceForm(forms.ModelForm):
    """An Ollama server: only its root, on http or https."""

    class Meta:
        model = Instance
        fields = ("node", "name", "url")

    def clean_url(self) -> str:
        """Check scheme, host and port."""
        try:
            return check_url(self.cleaned_data["url"])
        except LabDashError as error:
            raise ValidationError(str(error)) from error


class ModelNameField(forms.CharField):
    """A model name that may be pulled."""

    def clean(self, value: Any) -> str:
        """Return the name as Ollama lists it."""
        try:
            return parse_model_name(super().clean(value))
        except LabDashError as error:
            raise ValidationError(str(error)) from error


class PullJobForm(forms.ModelForm):
    """What to pull, and to which instance."""

    model = ModelNameField(max_length=350, help_text="Such as qwen3:8b.")

    class Meta:
        model = PullJob
        fields = ("instance", "model")

    def validate_unique(self) -> None:
        """Leave it to the domain, which returns the job that is under way."""

    def validate_constraints(self) -> None:
        """Leave it to the domain, as above."""


class PullToForm(forms.Form):
    """Which model the chosen nodes shall have."""

    model = ModelNameField(max_length=350, help_text="Such as qwen3:8b.")


class PullModelsForm(forms.Form):
    """Where the chosen models shall go."""

    instances = forms.ModelMultipleChoiceField(
        queryset=Instance.objects.select_related("node"), label="To"
    )
