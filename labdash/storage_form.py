"""The forms of the page of one installed name."""

from collections.abc import Iterable
from typing import Any

from django import forms

from labdash.forms import PlainForm
from labdash.models import Instance

LONGEST_NAME = 350


class TargetForm(PlainForm):
    """Another name."""

    target = forms.CharField(
        label="New name",
        max_length=LONGEST_NAME,
        error_messages={"required": "Write a name, such as my-qwen:8b."},
        widget=forms.TextInput(
            attrs={
                "placeholder": "my-qwen:8b",
                "autocapitalize": "none",
                "autocomplete": "off",
                "spellcheck": "false",
            }
        ),
    )


class _ServerField(forms.ModelChoiceField):  # type: ignore[type-arg]  # none when it runs
    def label_from_instance(self, obj: Instance) -> str:
        slug = obj.node.slug
        return slug if obj.name == "ollama" else f"{slug} / {obj.name}"


class MoveForm(PlainForm):
    """Another machine."""

    prefix = "move"
    target = _ServerField(
        label="To",
        queryset=Instance.objects.none(),
        empty_label=None,
        error_messages={
            "required": "Choose a machine.",
            "invalid_choice": "That machine is not in the lab any more.",
        },
    )

    def __init__(self, *args: Any, targets: Iterable[Instance], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        keys = [each.pk for each in targets]
        rows = Instance.objects.filter(pk__in=keys).select_related("node")
        self.fields["target"].queryset = rows.order_by("node__slug", "name")  # type: ignore[attr-defined]  # of its kind of field
