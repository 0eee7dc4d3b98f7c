"""Forms of the admin: sizes are typed in GiB, names and addresses are checked as everywhere."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from labdash.domain.addresses import check_url, require_distinct
from labdash.domain.errors import LabDashError
from labdash.domain.names import parse_model_name
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

    def has_changed(self) -> bool:
        """A new row counts as it is shown: what it proposes may be what is meant."""
        return self.instance.pk is None or super().has_changed()


class LoneInstanceForm(InstanceForm):
    """An Ollama server on a page of its own."""

    def clean(self) -> dict[str, Any]:
        """Refuse a server that is listed already."""
        data = super().clean() or {}
        node = data.get("node") or getattr(self.instance, "node", None)
        if node and "url" in data:
            _require_distinct(node, [self])
        return data


class InstanceFormSet(forms.BaseInlineFormSet):
    """The Ollama servers of a node."""

    def clean(self) -> None:
        """Refuse a server that is listed already, here or at another node."""
        super().clean()
        kept = [form for form in self.forms if form not in self.deleted_forms]
        gone = [form.instance.pk for form in self.deleted_forms]
        _require_distinct(self.instance, kept, besides=gone)


def _require_distinct(node: Node, rows: list[Any], *, besides: Iterable[int] = ()) -> None:
    """Compare the addresses that are new with all others; what was stored so stays."""
    new = [form for form in rows if form.instance.pk is None or "url" in form.changed_data]
    known = [form.instance.pk for form in new if form.instance.pk is not None]
    others = Instance.objects.exclude(pk__in=[*known, *besides]).select_related("node")
    urls = [form.cleaned_data["url"] for form in new if "url" in form.cleaned_data]
    try:
        require_distinct(node=node, urls=urls, others=others)
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
