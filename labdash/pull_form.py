"""The form of the page before a pull: which model, with how long a context, in what room."""

from typing import ClassVar, cast

from django import forms

from labdash.domain.errors import LabDashError
from labdash.domain.names import parse_model_name
from labdash.forms import LEAST_CONTEXT, PlainForm
from labdash.queries.before_pull import Question, Room
from workers.wire.loads import MOST_CONTEXT

LONGEST_NAME = 350
USUAL_CTX = 8192
# What is sent to see all quants by what is known here: any other word asks registries, too.
ALL_QUANTS = "all"
CONTEXTS = (2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144)


def context_choices(top: int, wanted: int) -> list[tuple[str, str]]:
    """Return the contexts to choose among, up to what a model can, the wanted one among them."""
    usual = {each for each in CONTEXTS if not top or each <= top}
    return [(str(each), _tokens(each)) for each in sorted({*usual, top or wanted, wanted})]


def _tokens(number: int) -> str:
    return f"{number // 1024}k" if number % 1024 == 0 else f"{number:,}"


class BeforePullForm(PlainForm):
    """What is asked before a pull."""

    model = forms.CharField(
        label="Model",
        max_length=LONGEST_NAME,
        error_messages={
            "required": "Write a model name, such as qwen3:14b.",
            "max_length": "No model has so long a name: write one such as qwen3:14b.",
        },
        widget=forms.TextInput(
            attrs={
                "list": "models",
                "placeholder": "qwen3:14b or hf.co/user/repository:Q4_K_M",
                "autocapitalize": "none",
                "autocomplete": "off",
                "spellcheck": "false",
            }
        ),
    )
    context = forms.IntegerField(
        label="Context of a slot",
        min_value=LEAST_CONTEXT,
        max_value=MOST_CONTEXT,
        widget=forms.Select(),
        error_messages={
            "invalid": "Write the context as a whole number of tokens.",
            "required": "Write the context in tokens.",
            "min_value": f"A context has at least {LEAST_CONTEXT} tokens.",
            "max_value": f"A context has at most {MOST_CONTEXT:,} tokens.",
        },
    )
    room = forms.ChoiceField(
        label="What is free",
        choices=[("free", "all models unloaded"), ("now", "as it is now")],
        error_messages={"invalid_choice": "Choose what counts as free."},
    )
    look = forms.CharField(max_length=10, required=False)

    FIRST: ClassVar = {"context": str(USUAL_CTX), "room": "free"}

    def clean_model(self) -> str:
        """Check the name against Ollama's grammar."""
        name = " ".join(str(self.cleaned_data["model"]).split())
        try:
            parse_model_name(name)
        except LabDashError as error:
            raise forms.ValidationError(str(error)) from error
        return name

    def question(self) -> Question:
        """Return it as ``queries.before_pull`` takes it."""
        data = self.cleaned_data
        return Question(
            name=data["model"],
            ctx=data["context"],
            room=cast("Room", data["room"]),
            look=data["look"] not in ("", ALL_QUANTS),
            alone=not data["look"],
        )

    def offer_contexts(self, top: int, wanted: int) -> None:
        """Let the field offer what a model can."""
        widget = self.fields["context"].widget
        if isinstance(widget, forms.Select):
            widget.choices = context_choices(top, wanted)
