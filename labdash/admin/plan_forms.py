"""Forms of what is planned: lists are typed with commas, sizes in GiB."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from labdash.admin.forms import GibField, GpuForm, LoneInstanceForm, NodeForm
from labdash.domain import deployments
from labdash.domain.errors import LabDashError
from labdash.domain.gpus import check_amounts
from labdash.models import Deployment, Gpu, Instance, Node


class ListField(forms.CharField):
    """A list, typed and shown with commas."""

    def __init__(self, *, each: Callable[[str], object] = str, **kwargs: Any) -> None:
        super().__init__(required=False, **kwargs)
        self._each = each

    def prepare_value(self, value: Any) -> Any:
        """Show a list with commas; what was typed stays as it was typed."""
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[object]:
        """Return the parts without the spaces around them."""
        parts = [part.strip() for part in super().clean(value).split(",")]
        try:
            return [self._each(part) for part in parts if part]
        except ValueError as error:
            raise ValidationError("Write whole numbers with commas between them.") from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare as shown."""
        return super().has_changed(self.prepare_value(initial), data)


class NumbersField(ListField):
    """A list of numbers; nothing typed is nothing known."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(each=int, **kwargs)

    def clean(self, value: Any) -> Any:
        """Return the numbers, or ``None``."""
        return super().clean(value) or None


class LinesField(forms.CharField):
    """Variables of an environment, one NAME=value a line."""

    widget = forms.Textarea(attrs={"rows": 4})

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        """Show one variable a line."""
        if not isinstance(value, dict):
            return value
        return "\n".join(f"{name}={text}" for name, text in value.items())

    def clean(self, value: Any) -> dict[str, str]:
        """Return the variables by name."""
        lines = [line.strip() for line in super().clean(value).splitlines() if line.strip()]
        if wrong := next((line for line in lines if "=" not in line), ""):
            raise ValidationError(f"Write NAME=value: {wrong[:60]} has no equals sign.")
        pairs = (line.split("=", maxsplit=1) for line in lines)
        return {name.strip(): text.strip() for name, text in pairs}

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare as shown."""
        return super().has_changed(self.prepare_value(initial), data)


class DeploymentForm(forms.ModelForm):
    """What is wanted of a model; the domain checks it whole."""

    nodes = ListField(help_text="Nodes and tags; empty for anywhere.")
    keep_apart = ListField(help_text="Deployments with which it shares no device.")
    give_way = ListField(help_text="What shrinks first: ctx, quant, offload is the usual order.")
    kv_types = ListField(label="KV cache types", help_text="Those that will do; empty for any.")

    class Meta:
        model = Deployment
        fields = (
            "name",
            "model",
            "quant_floor",
            "quant_wish",
            "ctx_floor",
            "ctx_wish",
            "priority",
            "prefer",
            "residency",
            "offload_allowed",
            "replicas",
            "nodes",
            "pin",
            "keep_apart",
            "min_tokens_per_s",
            "give_way",
            "parallel",
            "kv_types",
            "same_name",
        )

    def clean(self) -> dict[str, Any]:
        """Refuse what can never be planned, in the words of the domain."""
        data = super().clean() or {}
        if not self.errors:
            try:
                deployments.check(Deployment(pk=self.instance.pk, **data))
            except LabDashError as error:
                raise ValidationError(str(error)) from error
        return data


class OwnedGpuForm(GpuForm):
    """A GPU with what the plan leaves of it to its owner."""

    reserve_bytes = GibField(label="Kept for its owner, in GiB", min_value=0, required=False)
    margin_bytes = GibField(
        label="Safety margin in GiB",
        min_value=0,
        required=False,
        help_text="Empty for what the engine keeps.",
    )
    game_bytes = GibField(
        label="Given back when other programs take, in GiB",
        required=False,
        help_text="Empty for never.",
    )

    class Meta:
        model = Gpu
        fields = (*GpuForm.Meta.fields, "reserve_bytes", "margin_bytes", "game_bytes", "given_back")

    def clean(self) -> dict[str, Any]:
        """Refuse more than the card has."""
        data = super().clean() or {}
        data["reserve_bytes"] = data.get("reserve_bytes") or 0
        amounts = {name: data.get(name) for name in ("reserve_bytes", "margin_bytes", "game_bytes")}
        try:
            check_amounts(gpu=self.instance, **amounts)
        except LabDashError as error:
            raise ValidationError(str(error)) from error
        return data


class OwnedNodeForm(NodeForm):
    """A node with the words by which deployments choose it."""

    tags = ListField(help_text="Words by which deployments choose machines, such as fast, quiet.")

    class Meta:
        model = Node
        fields = (*NodeForm.Meta.fields, "tags")

    def clean_tags(self) -> list[str]:
        """Keep each word once, and none that could be mistaken for a list."""
        return list(dict.fromkeys(map(str, self.cleaned_data["tags"])))


class SettledInstanceForm(LoneInstanceForm):
    """An Ollama server, with what LabDash cannot read of it."""

    declared_settings = LinesField(
        label="Its environment",
        help_text="Where LabDash cannot read it: OLLAMA_KV_CACHE_TYPE=q8_0 and such, one a line.",
    )
    declared_gpus = NumbersField(
        label="Its GPUs",
        help_text="Numbers of the node's GPUs that it sees, where LabDash cannot tell: 0, 1.",
    )

    class Meta:
        model = Instance
        fields = (*LoneInstanceForm.Meta.fields, "declared_settings", "declared_gpus")
