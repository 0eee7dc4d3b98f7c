"""The forms of the chapters that try models on machines."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from django import forms
from django.http import QueryDict

from labdash.forms import PlainForm
from labdash.planner.file_types import FILE_TYPES
from labdash.queries.fit_models import LONGEST_NAME
from labdash.queries.fit_places import Place
from labdash.queries.guide_memory import CONTEXTS
from labdash.queries.guide_places import machine_choices, room_of

FIRST_PLACE = "rtx-4060"
CHOSEN = "chosen for the machine"
WRONG_MACHINE = "There is no such machine any more: choose one of the list."


class ModelField(forms.CharField):
    """A name of the catalog."""

    default_error_messages: ClassVar = {
        "max_length": f"Write the name of a model, at most {LONGEST_NAME} characters long."
    }
    widget = forms.TextInput(
        attrs={"list": "models", "autocapitalize": "none", "autocomplete": "off",
               "spellcheck": "false"}
    )  # fmt: skip


class ContextForm(PlainForm):
    """The context that all tables are reckoned for."""

    context = forms.TypedChoiceField(
        label="Context",
        coerce=int,
        choices=[(each, f"{each // 1024}k tokens") for each in CONTEXTS],
        error_messages={"invalid_choice": "There is no such context: choose one of the list."},
    )


class PlaceForm(ContextForm):
    """A machine: one of the reader's own, or a usual one."""

    at = forms.ChoiceField(label="Machine", error_messages={"invalid_choice": WRONG_MACHINE})

    def __init__(self, *args: Any, own: Iterable[Place], **kwargs: Any) -> None:
        """Offer the reader's own machines first."""
        super().__init__(*args, **kwargs)
        at = self.fields["at"]
        assert isinstance(at, forms.ChoiceField)  # noqa: S101 - declared above
        at.choices = machine_choices(own)


class HardwareForm(PlaceForm):
    """A machine to look at closer, and the model of its curve."""

    model = ModelField(label="Model of the curve", max_length=LONGEST_NAME, required=False)

    FIRST: ClassVar = {"context": "8192", "model": ""}
    # Its fields stand where their answer does, apart from the rest.
    APART: ClassVar = ("at", "model")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Join the fields that stand apart to the form."""
        super().__init__(*args, **kwargs)
        for name in self.APART:
            self.fields[name].widget.attrs["form"] = "hardware-form"
        self.fields["model"].widget.attrs["placeholder"] = CHOSEN


class ModelForm(ContextForm):
    """One model on all machines."""

    model = ModelField(label="Model", max_length=LONGEST_NAME)

    FIRST: ClassVar = {"context": "8192", "model": "hf.co/prithivMLmods/VibeThinker-3B-GGUF"}


class StartForm(PlaceForm):
    """One model on one machine."""

    model = ModelField(label="Model", max_length=LONGEST_NAME, required=False)
    quant = forms.ChoiceField(
        label="Quant",
        required=False,
        choices=[("", "the best that runs well"), *((name, name) for name in reversed(FILE_TYPES))],
        error_messages={"invalid_choice": "There is no such quant: choose one of the list."},
    )
    FIRST: ClassVar = {"context": "8192", "model": "", "quant": ""}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Say what an empty name stands for."""
        super().__init__(*args, **kwargs)
        self.fields["model"].widget.attrs["placeholder"] = CHOSEN


def filled(first: Mapping[str, str], sent: QueryDict) -> dict[str, str]:
    """Return what was sent, and for the rest how a page begins."""
    return {name: sent.get(name) or usual for name, usual in first.items()}


def first_place(own: Sequence[Place]) -> str:
    """Return the machine that a page begins with: the reader's roomiest."""
    return max(own, key=room_of).key if own else FIRST_PLACE
