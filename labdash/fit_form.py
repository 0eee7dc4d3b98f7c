"""The form of the page "Will it fit?"."""

from collections.abc import Iterable
from typing import ClassVar

from django import forms

from labdash.forms import LEAST_CONTEXT, PlainForm
from labdash.planner.file_types import FILE_TYPES
from labdash.planner.settings import CACHE_TYPES
from labdash.queries.fit import Asked
from labdash.queries.fit_described import LONGEST
from labdash.queries.fit_files import PACKED_LIMIT
from labdash.queries.fit_loads import Load
from labdash.queries.fit_models import LONGEST_NAME
from workers.wire.loads import MOST_CONTEXT

KV_NOTES = {"f16": "f16, as Ollama has it", "q8_0": "q8_0, half of it", "q4_0": "q4_0, a quarter"}
BATCHES = (128, 256, 512, 1024, 2048)
MOST_SLOTS = 64


def _choice_field(label: str, choices: Iterable[tuple[str, str]], wrong: str) -> forms.ChoiceField:
    return forms.ChoiceField(
        label=label, choices=list(choices), error_messages={"invalid_choice": wrong}
    )


class FitForm(PlainForm):
    """What shall fit: a model and how it is to be served."""

    model = forms.CharField(
        label="Model",
        max_length=LONGEST_NAME,
        required=False,
        widget=forms.TextInput(
            attrs={
                "list": "models",
                "placeholder": "qwen3:8b",
                "autocapitalize": "none",
                "autocomplete": "off",
                "spellcheck": "false",
            }
        ),
    )
    facts = forms.CharField(
        max_length=PACKED_LIMIT, required=False, widget=forms.HiddenInput(attrs={"id": "facts"})
    )
    quant = _choice_field(
        "Quant",
        [("", "as the model has it"), *((name, name) for name in reversed(FILE_TYPES))],
        "There is no such quant: choose one of the list.",
    )
    context = forms.IntegerField(
        label="Context of a slot in tokens",
        min_value=LEAST_CONTEXT,
        max_value=MOST_CONTEXT,
        error_messages={
            "invalid": "Write the context as a whole number of tokens.",
            "required": "Write the context in tokens.",
            "min_value": f"A context has at least {LEAST_CONTEXT} tokens.",
            "max_value": f"A context has at most {MOST_CONTEXT:,} tokens.",
        },
    )
    kv = _choice_field(
        "KV cache",
        [(name, KV_NOTES.get(name, name)) for name in CACHE_TYPES],
        "llama.cpp has no such type of KV cache: choose one of the list.",
    )
    slots = forms.IntegerField(
        label="Slots",
        min_value=1,
        max_value=MOST_SLOTS,
        error_messages={
            "invalid": "Write the slots as a whole number.",
            "required": "Write the number of slots.",
            "min_value": "A server has at least one slot.",
            "max_value": f"More than {MOST_SLOTS} slots are not reckoned here.",
        },
    )
    flash = _choice_field(
        "Flash attention", [("on", "on"), ("off", "off")], "Flash attention is on or off."
    )
    batch = _choice_field(
        "Batch",
        [(str(each), str(each)) for each in BATCHES],
        "Choose a batch of the list.",
    )
    room = _choice_field(
        "What is free",
        [("now", "as it is now"), ("unloaded", "with Ollama's models unloaded")],
        "Choose what counts as free.",
    )
    card = forms.CharField(
        label="Other hardware to try",
        max_length=LONGEST,
        required=False,
        error_messages={
            "max_length": f"Describe the hardware in at most {LONGEST} characters, as RTX 4060 "
            "or Mac 16 GB."
        },
        help_text="Any card, Mac or machine, such as 3060 12 GB, M2 16 GB, mini-PC 32 GB.",
        widget=forms.TextInput(
            attrs={
                "list": "gpus",
                "placeholder": "RTX 4060",
                "autocomplete": "off",
                "spellcheck": "false",
            }
        ),
    )
    at = forms.CharField(max_length=200, required=False)
    go = forms.CharField(max_length=10, required=False)

    quant.required = False
    FIRST: ClassVar = {
        "context": "8192",
        "kv": "f16",
        "slots": "1",
        "flash": "on",
        "batch": "512",
        "room": "now",
    }

    def asked(self) -> Asked:
        """Return it as ``queries.fit`` takes it."""
        data = self.cleaned_data
        load = Load(
            context=data["context"],
            slots=data["slots"],
            kv_type=data["kv"],
            flash=data["flash"] == "on",
            batch=int(data["batch"]),
        )
        return Asked(
            name=data["model"],
            facts=data["facts"],
            quant=data["quant"],
            load=load,
            without_models=data["room"] == "unloaded",
            at=data["at"],
            card=data["card"],
            far=bool(data["go"]),
        )
