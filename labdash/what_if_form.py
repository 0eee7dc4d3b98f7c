"""The form of the page that asks what if."""

from collections.abc import Iterable
from typing import Any, cast

from django import forms

from labdash.deployment_form import (
    GONE,
    MOST_SLOTS,
    PLAIN_TEXT,
    ContextField,
    ModelField,
    quant_field,
)
from labdash.domain.deployments import KV_TYPES
from labdash.forms import PlainForm
from labdash.queries.planner_what_if import Asked


def _pick(label: str) -> forms.ChoiceField:
    return forms.ChoiceField(label=label, required=False, error_messages={"invalid_choice": GONE})


class WhatIfForm(PlainForm):
    """How the lab is to be otherwise."""

    card = forms.CharField(
        label="Another GPU",
        max_length=100,
        required=False,
        widget=forms.TextInput(attrs={"list": "gpus", "placeholder": "RTX 3090", **PLAIN_TEXT}),
    )
    card_node = _pick("in")
    more = _pick("More context for")
    more_ctx = ContextField(label="at least")
    instance = _pick("Other settings of")
    kv_type = forms.ChoiceField(
        label="KV cache",
        required=False,
        choices=[("", "as it is"), *((each, each) for each in KV_TYPES)],
        error_messages={"invalid_choice": "There is no such type: choose one of the list."},
    )
    slots = forms.IntegerField(
        label="Slots",
        required=False,
        min_value=1,
        max_value=MOST_SLOTS,
        error_messages=dict.fromkeys(
            ("invalid", "min_value", "max_value"), f"Write a number from 1 to {MOST_SLOTS}."
        ),
    )
    asleep = _pick("Asleep")
    awake = _pick("Awake")
    model = ModelField(label="A model more", such_as="qwen3:8b", required=False)
    model_quant = quant_field("Quant", "as its name says")
    model_ctx = ContextField(label="Context")

    def __init__(
        self,
        *args: Any,
        nodes: Iterable[str],
        away: Iterable[str],
        instances: Iterable[str],
        deployments: Iterable[str],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        here, gone = list(nodes), list(away)
        self._offer("card_node", [*here, *gone])
        self._offer("asleep", here)
        self._offer("awake", gone)
        self._offer("instance", instances)
        self._offer("more", deployments)
        for name in ("more_ctx", "model_ctx"):
            self.fields[name].required = False

    def clean(self) -> dict[str, Any]:
        """Want the second half of what was begun."""
        data = super().clean() or {}
        for first, second, text in (
            ("card", "card_node", "Choose the machine that gets it."),
            ("more", "more_ctx", "Write how much context."),
            ("instance", "kv_type", "Choose a KV cache, or write a number of slots."),
        ):
            is_given = data.get(second) or (first == "instance" and data.get("slots"))
            if data.get(first) and not is_given and second not in self.errors:
                self.add_error(second, text)
        return data

    def asked(self) -> Asked:
        """Return it as the planner's pages take it."""
        return Asked(**self.cleaned_data)

    def _offer(self, name: str, values: Iterable[str]) -> None:
        field = cast("forms.ChoiceField", self.fields[name])
        field.choices = [("", "—"), *((each, each) for each in values)]
