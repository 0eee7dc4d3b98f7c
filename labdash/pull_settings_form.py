"""The form of all that holds for pulls."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.http import QueryDict

from labdash.cache_form import LEAST_GIB
from labdash.forms import PlainForm
from labdash.models import Node, PullSettings, UnusedRule
from labdash.queries.due import WhenError, zone_of
from labdash.queries.pacing import DAYS, SpeedWindow, read_windows
from labdash.wording import GIB, MIB

MOST_MIB_PER_S = 100_000
MOST_GIB = 100_000
# Beside those that are there, so many lines are free for new ones.
FREE_LINES = 2
MOST_WINDOWS = 20
DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SPEED = f"Write a number of MiB a second up to {MOST_MIB_PER_S:,}, or nothing."


def _speed(label: str, help_text: str = "") -> forms.FloatField:
    return forms.FloatField(
        label=label,
        help_text=help_text,
        required=False,
        min_value=0,
        max_value=MOST_MIB_PER_S,
        error_messages=dict.fromkeys(("invalid", "min_value", "max_value"), _SPEED),
        widget=forms.NumberInput(
            attrs={"step": "any", "inputmode": "decimal", "placeholder": "no limit"}
        ),
    )


def _whole(label: str, help_text: str, *, least: int, most: int) -> forms.IntegerField:
    wrong = f"Write a whole number from {least} to {most:,}."
    return forms.IntegerField(
        label=label,
        help_text=help_text,
        min_value=least,
        max_value=most,
        error_messages=dict.fromkeys(("required", "invalid", "min_value", "max_value"), wrong),
    )


def _gib(
    label: str, help_text: str = "", *, required: bool = True, least: int = 0
) -> forms.FloatField:
    span = f"from {least} to" if least else "up to"
    wrong = f"Write a number of GiB {span} {MOST_GIB:,}."
    return forms.FloatField(
        label=label,
        help_text=help_text,
        required=required,
        min_value=least,
        max_value=MOST_GIB,
        error_messages=dict.fromkeys(("required", "invalid", "min_value", "max_value"), wrong),
        widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"}),
    )


def _clock(label: str) -> forms.TimeField:
    return forms.TimeField(
        label=label,
        required=False,
        input_formats=["%H:%M", "%H:%M:%S"],
        error_messages={"invalid": "Write a time of the day, such as 08:00."},
        widget=forms.TimeInput(format="%H:%M", attrs={"type": "time"}),
    )


class PullSettingsForm(PlainForm):
    """What holds for the whole lab."""

    speed = _speed("Speed limit in MiB/s", "For all pulls together. Empty: none. 0: no pulls.")
    zone = forms.CharField(
        label="Time zone of these times",
        max_length=60,
        required=False,
        help_text="Such as Europe/Berlin. Left empty: that of the hub.",
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false"}),
    )
    tries = _whole(
        "Tries", "Of a pull that may succeed later; 1 is never again by itself.", least=1, most=20
    )
    neighbours = forms.BooleanField(
        label="Copy from other machines",
        required=False,
        help_text="What one machine has, the others get from it: each model is downloaded once.",
    )
    cache = forms.BooleanField(
        label="Keep a cache on the hub",
        required=False,
        help_text="What was downloaded once stays there, unfinished files too.",
    )
    cache_limit = _gib(
        "Size of the cache in GiB", "The least recently used leaves first.", least=LEAST_GIB
    )
    keep_free = _gib(
        "Keep free on each disk, in GiB",
        "A pull that would leave less is refused before it begins.",
    )
    unused = forms.ChoiceField(
        label="Files that no plan needs and nobody used",
        choices=UnusedRule.choices,
        error_messages={"invalid_choice": "Choose what becomes of them."},
    )
    unused_after_days = _whole("Not used for so many days", "", least=1, most=3650)
    check_updates = forms.BooleanField(
        label="Look for updates once a day",
        required=False,
        help_text="Asks the registry whether there are newer files of what is installed.",
    )

    def clean_zone(self) -> str:
        """Check that there is such a zone."""
        name: str = self.cleaned_data["zone"].strip()
        try:
            return name and zone_of(name).key
        except WhenError as error:
            raise forms.ValidationError(str(error)) from error

    def values(self) -> dict[str, Any]:
        """Return the fields of the stored settings."""
        data = self.cleaned_data
        same = ("zone", "tries", "neighbours", "cache", "unused", "unused_after_days")
        return {
            **{name: data[name] for name in (*same, "check_updates")},
            "bytes_per_s": to_bytes(data["speed"], MIB),
            "cache_limit_bytes": to_bytes(data["cache_limit"], GIB),
            "keep_free_bytes": to_bytes(data["keep_free"], GIB),
        }


class WindowForm(PlainForm):
    """One speed limit by the clock. Without times it is none."""

    days = forms.TypedMultipleChoiceField(
        label="On",
        required=False,
        coerce=int,
        choices=[(str(day), DAY_NAMES[day]) for day in DAYS],
        error_messages={"invalid_choice": "Choose days of the week."},
        widget=forms.CheckboxSelectMultiple,
    )
    begins = _clock("From")
    ends = _clock("To")
    speed = _speed("MiB/s")

    def clean(self) -> dict[str, Any]:
        """Take both times or none."""
        data = super().clean() or {}
        if (data.get("begins") is None) != (data.get("ends") is None) and not self.errors:
            self.add_error("ends", "Write both times, or none to leave this line out.")
        return data

    def window(self) -> SpeedWindow | None:
        """Return the limit; on no day means on each."""
        data = self.cleaned_data
        if data["begins"] is None:
            return None
        return SpeedWindow(
            days=frozenset(data["days"] or DAYS),
            begins=data["begins"],
            ends=data["ends"],
            bytes_per_s=to_bytes(data["speed"], MIB),
        )


class NodeLimitForm(PlainForm):
    """What holds for one machine beside that."""

    speed = _speed("MiB/s")
    keep_free = _gib("GiB", required=False)

    def __init__(self, *args: Any, node: Node, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.node = node
        for name, what in (("speed", "Speed limit in MiB/s of"), ("keep_free", "Keep free on")):
            said = {"aria-label": f"{what} {node.slug}", "placeholder": "as the lab"}
            self.fields[name].widget.attrs.update(said)

    def values(self) -> dict[str, int | None]:
        """Return the fields of the node; a limit of 0 would be no limit but a stop."""
        data = self.cleaned_data
        return {
            "pull_bytes_per_s": to_bytes(data["speed"], MIB) or None,
            "keep_free_bytes": to_bytes(data["keep_free"], GIB),
        }


class WholeForm:
    """All of the page: the lab, the lines by the clock, and the machines."""

    def __init__(
        self, posted: QueryDict | None, *, stored: PullSettings, nodes: list[Node]
    ) -> None:
        self.lab = PullSettingsForm(posted, initial=_of_lab(stored))
        self.windows = list(_window_forms(posted, read_windows(stored.speed_windows)))
        self.nodes = [
            NodeLimitForm(posted, node=node, prefix=f"node-{node.pk}", initial=_of_node(node))
            for node in nodes
        ]

    @property
    def is_bound(self) -> bool:
        """Whether it was sent."""
        return self.lab.is_bound

    def is_valid(self) -> bool:
        """Judge all parts, so that all errors are told at once."""
        verdicts = [form.is_valid() for form in (self.lab, *self.windows, *self.nodes)]
        return all(verdicts)

    def speed_windows(self) -> list[SpeedWindow]:
        """Return the limits by the clock."""
        return [window for form in self.windows if (window := form.window()) is not None]


def to_bytes(number: float | None, unit: int) -> int | None:
    """Return bytes of a number in a unit."""
    return None if number is None else round(number * unit)


def _window_forms(
    posted: QueryDict | None, windows: tuple[SpeedWindow, ...]
) -> Iterator[WindowForm]:
    count = min(MOST_WINDOWS, len(windows) + FREE_LINES)
    if posted is not None:
        sent = {name.split("-")[1] for name in posted if name.startswith("window-")}
        count = min(MOST_WINDOWS, max(map(int, filter(str.isdecimal, sent)), default=-1) + 1)
    for number in range(count):
        window = windows[number] if number < len(windows) else None
        initial = _of_window(window) if window else {"days": [str(day) for day in DAYS]}
        yield WindowForm(posted, prefix=f"window-{number}", initial=initial)


def _of_lab(stored: PullSettings) -> dict[str, Any]:
    same = ("zone", "tries", "neighbours", "cache", "unused", "unused_after_days", "check_updates")
    return {
        **{name: getattr(stored, name) for name in same},
        "speed": _in_unit(stored.bytes_per_s, MIB),
        "cache_limit": _in_unit(stored.cache_limit_bytes, GIB),
        "keep_free": _in_unit(stored.keep_free_bytes, GIB),
    }


def _of_window(window: SpeedWindow) -> dict[str, Any]:
    return {
        "days": [str(day) for day in sorted(window.days)],
        "begins": window.begins,
        "ends": window.ends,
        "speed": _in_unit(window.bytes_per_s, MIB),
    }


def _of_node(node: Node) -> dict[str, Any]:
    return {
        "speed": _in_unit(node.pull_bytes_per_s, MIB),
        "keep_free": _in_unit(node.keep_free_bytes, GIB),
    }


def _in_unit(size: int | None, unit: int) -> float | int | None:
    """Return a size as it is typed: without a decimal where it has none."""
    if size is None:
        return None
    number = round(size / unit, 3)
    return int(number) if number == int(number) else number
