"""Forms of the pages: what was typed becomes what ``labdash.domain`` takes."""

from collections.abc import Iterable
from typing import Any, cast

from django import forms
from django.contrib.auth.validators import UnicodeUsernameValidator

from labdash.domain.addresses import check_url
from labdash.domain.errors import LabDashError
from labdash.domain.names import parse_model_name
from labdash.domain.nodes import check_slug
from labdash.models import InstalledModel, Instance, Node, NodeKind
from labdash.wording import GIB
from workers import wire
from workers.wire.loads import FOREVER_S, MOST_CONTEXT, MOST_KEEP_S
from workers.wire.tries import MOST_PROMPT

# Below this no answer fits.
LEAST_CONTEXT = 256
# Of one GPU, and of what is kept of it.
MOST_GIB = 4096
OTHER = "other"
RULES = "At least 8 characters, not a common password, not digits alone."


class PlainForm(forms.Form):
    """A form whose errors are tied to their fields for those who do not see colours."""

    use_required_attribute = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)

    def refuse(self, error: LabDashError, field: str | None = None) -> None:
        """Show what the domain refused."""
        self.add_error(field, str(error))


class SignInForm(PlainForm):
    """User name and password."""

    username = forms.CharField(
        label="User name",
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "username", "autocapitalize": "none"}),
    )
    password = forms.CharField(
        label="Password",
        max_length=4096,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


def _code_field(help_text: str) -> forms.CharField:
    return forms.CharField(
        label="One-time code",
        max_length=60,
        help_text=help_text,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "characters", "spellcheck": "false"}
        ),
    )


def _new_password_field() -> forms.CharField:
    return forms.CharField(
        label="New password",
        max_length=4096,
        strip=False,
        help_text=RULES,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )


class SetUpForm(PlainForm):
    """The first account, for whoever can read the terminal."""

    code = _code_field("deploy/up printed it in the terminal, in groups of four.")
    username = forms.CharField(
        label="User name",
        max_length=150,
        validators=[UnicodeUsernameValidator()],
        widget=forms.TextInput(attrs={"autocomplete": "username", "autocapitalize": "none"}),
    )
    password = _new_password_field()


class ResetForm(PlainForm):
    """A new password for the owner, for whoever can read the terminal."""

    code = _code_field("Run deploy/up --reset-owner on the hub: it prints one that lives an hour.")
    password = _new_password_field()


class PullForm(PlainForm):
    """A model name and where it shall go."""

    model = forms.CharField(
        label="Model",
        max_length=350,
        error_messages={"required": "Write a model name, such as qwen3:8b."},
        widget=forms.TextInput(
            attrs={
                "placeholder": "qwen3:8b",
                "autocapitalize": "none",
                "autocomplete": "off",
                "spellcheck": "false",
            }
        ),
    )
    instances = forms.ModelMultipleChoiceField(
        label="To",
        queryset=Instance.objects.select_related("node").order_by("node__slug", "name"),
        error_messages={
            "required": "Choose at least one node.",
            "invalid_choice": "A chosen node is no longer there: reload the page.",
        },
    )

    def clean_model(self) -> str:
        """Check the name against Ollama's grammar."""
        return _checked(parse_model_name, self.cleaned_data["model"])


class TryForm(PlainForm):
    """A model of one node and what to ask it."""

    model = forms.ModelChoiceField(
        label="Model",
        queryset=InstalledModel.objects.none(),
        error_messages={
            "required": "Choose a model.",
            "invalid_choice": "This model is no longer installed there: reload the page.",
        },
    )
    prompt = forms.CharField(
        label="Prompt",
        max_length=MOST_PROMPT,
        strip=False,
        error_messages={"required": "Write something to ask."},
        widget=forms.Textarea(attrs={"rows": 3}),
    )

    def __init__(self, *args: Any, node: Node, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows = InstalledModel.objects.in_use().filter(instance__node=node, is_cloud=False)
        field = cast("forms.ModelChoiceField[InstalledModel]", self.fields["model"])
        field.queryset = rows.select_related("instance__node")


KEEPS = (
    ("300", "5 minutes after its last use"),
    ("3600", "1 hour after its last use"),
    (str(FOREVER_S), "for ever"),
    (OTHER, "another time"),
)


class KeepForm(PlainForm):
    """How long a model stays in memory."""

    keep = forms.ChoiceField(
        label="Keep it",
        choices=KEEPS,
        initial="300",
        error_messages={"invalid_choice": "Choose how long to keep it."},
    )
    minutes = forms.IntegerField(
        label="Minutes, for another time",
        min_value=1,
        max_value=MOST_KEEP_S // 60,
        required=False,
        error_messages={
            "invalid": "Write the minutes as a whole number.",
            "min_value": "Keep it for a minute or more; to free its memory, unload it.",
            "max_value": "For longer than 30 days, keep it for ever.",
        },
    )

    def clean(self) -> dict[str, Any]:
        """Take the minutes where another time is chosen."""
        data = super().clean() or {}
        if data.get("keep") == OTHER and not data.get("minutes") and not self.errors:
            self.add_error("minutes", "Write for how many minutes.")
        return data

    def keep_s(self) -> int:
        """Return the time in seconds, -1 for ever."""
        data = self.cleaned_data
        return data["minutes"] * 60 if data["keep"] == OTHER else int(data["keep"])


class LoadForm(KeepForm):
    """How a model is loaded. ``gpus`` are the numbers that it may be pinned to."""

    context = forms.IntegerField(
        label="Context in tokens",
        min_value=LEAST_CONTEXT,
        required=False,
        error_messages={
            "invalid": "Write the context as a whole number of tokens.",
            "min_value": f"A context has at least {LEAST_CONTEXT} tokens.",
        },
        widget=forms.NumberInput(attrs={"list": "contexts", "placeholder": "as Ollama has it"}),
    )
    main_gpu = forms.TypedChoiceField(
        label="GPU",
        required=False,
        coerce=int,
        empty_value=None,
        error_messages={"invalid_choice": "This server has no such GPU: reload the page."},
    )
    field_order = ("context", "main_gpu", "keep", "minutes")

    def __init__(
        self, *args: Any, gpus: Iterable[tuple[int, str]], most: int | None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        choice = cast("forms.TypedChoiceField", self.fields["main_gpu"])
        choice.choices = [("", "as Ollama chooses"), *gpus]
        self._most = min(most or MOST_CONTEXT, MOST_CONTEXT)

    def clean_context(self) -> int | None:
        """Refuse more than the model can."""
        context: int | None = self.cleaned_data["context"]
        if context is not None and context > self._most:
            raise forms.ValidationError(f"Its context is at most {self._most:,} tokens.")
        return context


class MachineForm(PlainForm):
    """The name of a machine on which a worker of LabDash will run."""

    slug = forms.CharField(
        label="Name",
        max_length=50,
        help_text="Small letters, digits and hyphens.",
        widget=forms.TextInput(attrs={"autocapitalize": "none", "placeholder": "attic"}),
    )

    def clean_slug(self) -> str:
        """Check the grammar of names."""
        return _checked(check_slug, self.cleaned_data["slug"])


class AgentlessNodeForm(MachineForm):
    """A machine that is only an Ollama address, and the hardware that nobody can measure."""

    url = forms.CharField(
        label="Ollama address",
        max_length=300,
        help_text="As seen from the hub.",
        widget=forms.TextInput(
            attrs={"inputmode": "url", "placeholder": "http://192.168.1.20:11434"}
        ),
    )
    kind = forms.ChoiceField(label="System", choices=NodeKind.choices)
    ram_gib = forms.FloatField(
        label="RAM in GiB", min_value=0.5, max_value=65536, required=False, help_text="If you know."
    )
    gpu_name = forms.CharField(
        label="GPU", max_length=100, required=False, help_text="Leave it empty if there is none."
    )
    gpu_gib = forms.FloatField(
        label="Memory of each GPU in GiB", min_value=0.5, max_value=MOST_GIB, required=False
    )
    gpu_count = forms.IntegerField(
        label="Number of GPUs", min_value=1, max_value=16, required=False, initial=1
    )
    unified = forms.BooleanField(
        label="The GPU shares the RAM (Mac, APU)",
        required=False,
        help_text="Then its memory is what the GPU may use of the RAM.",
    )

    def clean_url(self) -> str:
        """Check scheme, host and port."""
        return _checked(check_url, self.cleaned_data["url"])

    def clean(self) -> dict[str, Any]:
        """Take a GPU's name and size together or not at all."""
        data = super().clean() or {}
        if bool(data.get("gpu_name")) != bool(data.get("gpu_gib")) and not self.errors:
            field = "gpu_gib" if data.get("gpu_name") else "gpu_name"
            self.add_error(field, "A GPU needs both a name and the size of its memory.")
        return data

    def gpus(self) -> Iterable[wire.DeclaredGpu]:
        """Return the declared GPUs."""
        data = self.cleaned_data
        if not data["gpu_name"]:
            return ()
        gpu = wire.DeclaredGpu(
            name=data["gpu_name"],
            memory_total_bytes=int(data["gpu_gib"] * GIB),
            unified=data["unified"],
        )
        return (gpu,) * (data["gpu_count"] or 1)

    def ram_bytes(self) -> int | None:
        """Return the declared RAM."""
        ram_gib = self.cleaned_data["ram_gib"]
        return None if ram_gib is None else int(ram_gib * GIB)


def _gib_field(
    label: str, help_text: str, *, least: float = 0, required: str = ""
) -> forms.FloatField:
    """Take an amount of a GPU's memory; ``required`` is what to write where it is left out."""
    wrong = f"Write a number of GiB from {least:g} to {MOST_GIB}."
    return forms.FloatField(
        label=label,
        help_text=help_text,
        min_value=least,
        max_value=MOST_GIB,
        required=bool(required),
        error_messages={
            "required": required,
            **dict.fromkeys(("invalid", "min_value", "max_value"), wrong),
        },
    )


class GpuOwnerForm(PlainForm):
    """What of a GPU the planner leaves to its owner, in GiB."""

    reserve = _gib_field(
        "Kept free for you, in GiB",
        "The plan leaves so much free, beside what other programs hold.",
        required="Write 0 where nothing is kept.",
    )
    margin = _gib_field("Safety margin in GiB", "Left empty, what the Ollama version keeps itself.")
    game = _gib_field(
        "Give it back when other programs take, in GiB",
        "As a game does. Left empty, never by itself.",
        least=0.1,
    )

    def sizes(self) -> dict[str, int | None]:
        """Return them in bytes."""
        data = self.cleaned_data
        return {
            f"{name}_bytes": None if data[name] is None else int(data[name] * GIB)
            for name in ("reserve", "margin", "game")
        }


def _checked(check: Any, text: str) -> str:
    try:
        return str(check(text))
    except LabDashError as error:
        raise forms.ValidationError(str(error)) from error
