"""The form of a deployment: what the lab shall serve, in few fields or in all."""

from collections.abc import Iterable, Mapping
from itertools import permutations
from typing import Any, ClassVar, cast

from django import forms

from labdash.domain.deployments import KV_TYPES, Fields
from labdash.domain.errors import LabDashError
from labdash.forms import PlainForm
from labdash.models import Deployment
from labdash.models.deployment import (
    DEPLOYMENT_NAME,
    LEAST_CTX,
    LEAST_PRIORITY,
    MOST_CTX,
    MOST_PRIORITY,
    MOST_REPLICAS,
    Prefer,
    Residency,
)
from labdash.planner.file_types import FILE_TYPES
from labdash.planner.lab import USUAL_ORDER, Yields
from labdash.queries.fit_models import LONGEST_NAME

KIBI = 1024
MOST_SLOTS = 64
# Of a context as it is typed.
MOST_LETTERS = 20
OUT_OF_RANGE = f"A context has {LEAST_CTX} to {MOST_CTX:,} tokens."
MOST_SPEED = 100_000
SEPARATOR = ","
USUAL = SEPARATOR.join(USUAL_ORDER)
# Words of what the domain refuses, and the field that they are about.
ABOUT = (
    ("least quant", "quant_wish"),
    ("quant", "quant_floor"),
    ("trained with", "ctx_floor"),
    ("pinned", "pin"),
    ("pin it", "pin"),
    ("has no GPU", "pin"),
    ("apart", "keep_apart"),
    ("no tag is named", "nodes"),
    ("served as", "name"),
    ("is a deployment named", "name"),
    ("", "model"),
)
YIELDS: Mapping[Yields, str] = {"ctx": "context", "quant": "quant", "offload": "CPU layers"}
# What the page shows at once; the rest is folded.
SHORT = ("model", "quant_floor", "quant_wish", "ctx_floor", "ctx_wish", "priority")
PLAIN_TEXT = {"autocapitalize": "none", "autocomplete": "off", "spellcheck": "false"}
GONE = "What is chosen is no longer there: reload the page."


class ContextField(forms.CharField):
    """Tokens of context, written as ``32768`` or ``32k``."""

    def __init__(self, *, label: str) -> None:
        super().__init__(
            label=label,
            max_length=MOST_LETTERS,
            error_messages={
                "required": "Write the context in tokens, such as 8k.",
                "max_length": OUT_OF_RANGE,
            },
            widget=forms.TextInput(attrs={"list": "contexts", **PLAIN_TEXT}),
        )

    def clean(self, value: Any) -> int | None:
        """Return the number of tokens; nothing where none is required."""
        if not value and not self.required:
            return None
        written = super().clean(value).lower().replace(",", "").replace(" ", "")
        number, factor = (written[:-1], KIBI) if written.endswith("k") else (written, 1)
        if not (number.isascii() and number.isdecimal()):
            raise forms.ValidationError("Write the context as a number of tokens: 8192 or 8k.")
        tokens = int(number) * factor
        if not LEAST_CTX <= tokens <= MOST_CTX:
            raise forms.ValidationError(OUT_OF_RANGE)
        return tokens


class ModelField(forms.CharField):
    """The name of a model, as Ollama has it."""

    def __init__(self, *, label: str, such_as: str, required: bool = True) -> None:
        super().__init__(
            label=label,
            max_length=LONGEST_NAME,
            required=required,
            error_messages={
                "required": f"Write a model name, such as {such_as}.",
                "max_length": f"A model name has at most {LONGEST_NAME} letters.",
            },
            widget=forms.TextInput(attrs={"list": "models", "placeholder": such_as, **PLAIN_TEXT}),
        )


def quant_field(label: str, empty: str) -> forms.ChoiceField:
    """Offer all quants; ``empty`` says what stands for none."""
    return forms.ChoiceField(
        label=label,
        required=False,
        choices=[("", empty), *((name, name) for name in FILE_TYPES)],
        error_messages={"invalid_choice": "There is no such quant: choose one of the list."},
    )


def _whole(label: str, least: int, most: int, help_text: str = "") -> forms.IntegerField:
    wrong = f"Write a whole number from {least} to {most}."
    return forms.IntegerField(
        label=label,
        min_value=least,
        max_value=most,
        help_text=help_text,
        error_messages=dict.fromkeys(("required", "invalid", "min_value", "max_value"), wrong),
    )


def _several(label: str, help_text: str = "") -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        label=label,
        required=False,
        help_text=help_text,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"invalid_choice": GONE},
    )


def _orders() -> list[tuple[str, str]]:
    """Return all orders of giving way, the usual one first."""
    return [
        (SEPARATOR.join(order), ", then ".join(YIELDS[each] for each in order))
        for order in permutations(USUAL_ORDER)
    ]


class DeploymentForm(PlainForm):
    """What is wanted of one model. ``places`` and the like are what can be chosen now."""

    model = ModelField(label="Model", such_as="qwen3:14b")
    quant_floor = quant_field("Quant, at least", "as the name says")
    quant_wish = quant_field("Better, if it fits", "no better")
    ctx_floor = ContextField(label="Context, at least")
    ctx_wish = ContextField(label="More, if it fits")
    priority = _whole("Priority", LEAST_PRIORITY, MOST_PRIORITY, "1 is most important.")

    name = forms.CharField(
        label="Its name here",
        max_length=60,
        required=False,
        validators=[DEPLOYMENT_NAME],
        help_text="Left empty, as the model is named. Clients ask for labdash/ and this name.",
        widget=forms.TextInput(attrs=PLAIN_TEXT),
    )
    residency = forms.ChoiceField(label="In memory", choices=Residency.choices)
    prefer = forms.ChoiceField(
        label="Counts most, once everything is served", choices=Prefer.choices
    )
    give_way = forms.ChoiceField(label="Gives way, when memory is short", choices=_orders())
    offload_allowed = forms.BooleanField(
        label="May run on the CPU in part",
        required=False,
        help_text="Layers on the CPU are slow. Without this it is refused where it does not fit.",
    )
    min_tokens_per_s = forms.FloatField(
        label="Tokens a second, at least",
        required=False,
        min_value=0.1,
        max_value=MOST_SPEED,
        error_messages={
            "invalid": "Write a number of tokens a second.",
            "min_value": "Write a number above 0, or nothing.",
            "max_value": f"Write a number up to {MOST_SPEED:,}.",
        },
    )
    replicas = _whole("Copies, each on another server", 1, MOST_REPLICAS)
    parallel = forms.IntegerField(
        label="Slots of its server",
        required=False,
        min_value=1,
        max_value=MOST_SLOTS,
        help_text="Left empty, as the server has it.",
        error_messages=dict.fromkeys(
            ("invalid", "min_value", "max_value"),
            f"Write a whole number from 1 to {MOST_SLOTS}, or nothing.",
        ),
    )
    kv_types = _several("Its server's KV cache may be", "None chosen: as the server has it.")
    nodes = _several("Only on", "None chosen: anywhere.")
    pin = forms.ChoiceField(
        label="On this device alone", required=False, error_messages={"invalid_choice": GONE}
    )
    keep_apart = _several("Shares no device with")
    same_name = forms.BooleanField(
        label="Serve it under the model's own name",
        required=False,
        help_text="Else under a name of its own, which leaves the model as it is.",
    )

    FIRST: ClassVar[dict[str, Any]] = {
        "ctx_floor": "8k",
        "ctx_wish": "32k",
        "priority": 3,
        "replicas": 1,
        "residency": Residency.RESIDENT,
        "prefer": Prefer.QUALITY,
        "give_way": USUAL,
    }

    def __init__(
        self,
        *args: Any,
        places: Iterable[str],
        devices: Iterable[tuple[str, str]],
        others: Iterable[str],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._offer("kv_types", [(each, each) for each in KV_TYPES])
        self._offer("nodes", [(each, each) for each in places])
        self._offer("keep_apart", [(each, each) for each in others])
        self._offer("pin", [("", "any"), *devices])

    @property
    def is_unfolded(self) -> bool:
        """Whether a folded field differs from how a form begins, or has an error."""
        folded = [name for name in self.fields if name not in SHORT]
        return any(name in self.errors or self._differs(name) for name in folded)

    def clean(self) -> dict[str, Any]:
        """Hold a wished context to be no less than the least."""
        data = super().clean() or {}
        if (data.get("ctx_floor") or 0) > data.get("ctx_wish", MOST_CTX):
            self.add_error("ctx_wish", "Wish at least the context that will do.")
        return data

    def refuse(self, error: LabDashError, field: str | None = None) -> None:
        """Show what the domain refused beside the field that it is about."""
        text = str(error)
        about = next((name for words, name in ABOUT if words in text), None)
        super().refuse(error, field or about)

    def values(self) -> Fields:
        """Return it as the domain takes it."""
        data = dict(self.cleaned_data)
        given = data["give_way"]
        data["give_way"] = [] if given == USUAL else given.split(SEPARATOR)
        return cast("Fields", data)

    def _differs(self, name: str) -> bool:
        value = self[name].value()
        # Each has a name: that alone tells nothing.
        return bool(value) and name != "name" and str(value) != str(self.FIRST.get(name))

    def _offer(self, name: str, choices: Iterable[tuple[str, str]]) -> None:
        """Offer what there is now, and what was chosen before though it is gone."""
        offered = list(choices)
        field = cast("forms.ChoiceField", self.fields[name])
        known = {value for value, _ in offered}
        before = self.initial.get(name) or []
        kept = [before] if isinstance(before, str) else before
        field.choices = [
            *offered,
            *((each, f"{each} (gone)") for each in kept if each not in known),
        ]


def initial_of(row: Deployment) -> dict[str, Any]:
    """Return how the form shows a deployment."""
    first = {name: getattr(row, name) for name in DeploymentForm.base_fields}
    return {
        **first,
        "ctx_floor": written_context(row.ctx_floor),
        "ctx_wish": written_context(row.ctx_wish),
        "give_way": SEPARATOR.join(row.give_way or USUAL_ORDER),
    }


def written_context(tokens: int) -> str:
    """Write tokens as the form takes them."""
    return str(tokens) if tokens % KIBI else f"{tokens // KIBI}k"
