"""The form of a schedule: what, where, when, until when; in few fields or in all."""

import re
from collections.abc import Iterable
from datetime import time
from typing import Any, ClassVar, cast

from django import forms

from labdash.domain.errors import LabDashError
from labdash.domain.schedules import Fields
from labdash.forms import PlainForm
from labdash.models import PullSchedule, ScheduleWhat, UpdateRule
from labdash.models.schedule import (
    LEAST_PRIORITY,
    LONGEST_CRON,
    MOST_AT_ONCE,
    MOST_PRIORITY,
    SCHEDULE_NAME,
    USUAL_PRIORITY,
)
from labdash.queries.schedule_words import DAY_NAMES, cron_of, simple_of

PLAIN_TEXT = {"autocapitalize": "none", "autocomplete": "off", "spellcheck": "false"}
MOST_LETTERS = 20_000
GONE = "What is chosen is no longer there: reload the page."
# Words of what the domain refuses, and the field that they are about.
ABOUT = (
    ("model name", "models"),
    ("models: make two", "models"),
    ("is a schedule named", "name"),
    ("Write a name", "name"),
    ("No node and no tag", "nodes"),
    ("time zone", "zone"),
    ("five fields", "cron"),
    ("never comes", "cron"),
    ("too often", "cron"),
    ("is no time", "cron"),
    ("until when", "until"),
    ("newer versions", "updates"),
    ("", "models"),
)
# Short enough for a phone.
WHATS = [
    *(each for each in ScheduleWhat.choices if each[0] != ScheduleWhat.GPUS),
    (ScheduleWhat.GPUS.value, "gaming mode: give GPUs back"),
]
# What the page folds away.
FOLDED = ("cron", "zone", "at_once", "priority", "catch_up")


def _clock(label: str, help_text: str = "", *, required: bool = True) -> forms.TimeField:
    wrong = "Write a time of the day, such as 02:00."
    return forms.TimeField(
        label=label,
        required=required,
        help_text=help_text,
        input_formats=["%H:%M", "%H:%M:%S"],
        error_messages={"required": wrong, "invalid": wrong},
        widget=forms.TimeInput(format="%H:%M", attrs={"type": "time"}),
    )


def _whole(label: str, least: int, most: int, help_text: str) -> forms.IntegerField:
    wrong = f"Write a whole number from {least} to {most}, or nothing."
    return forms.IntegerField(
        label=label,
        min_value=least,
        max_value=most,
        required=False,
        help_text=help_text,
        error_messages=dict.fromkeys(("invalid", "min_value", "max_value"), wrong),
    )


class ScheduleForm(PlainForm):
    """What a schedule does and when. ``places`` are the nodes and tags of now."""

    name = forms.CharField(
        label="Name",
        max_length=60,
        validators=[SCHEDULE_NAME],
        error_messages={"required": "Write a name, such as nightly."},
        widget=forms.TextInput(attrs={"placeholder": "nightly", **PLAIN_TEXT}),
    )
    what = forms.ChoiceField(label="What", choices=WHATS)
    models = forms.CharField(
        label="Models",
        required=False,
        max_length=MOST_LETTERS,
        help_text="One in each line, such as qwen3:14b.",
        widget=forms.Textarea(attrs={"rows": 4, **PLAIN_TEXT}),
    )
    nodes = forms.MultipleChoiceField(
        label="Where",
        required=False,
        help_text="None chosen: on all machines.",
        widget=forms.CheckboxSelectMultiple,
        error_messages={"invalid_choice": GONE},
    )
    at = _clock("At", required=False)
    until = _clock(
        "Until",
        "What is left then waits for the next time. Left empty: it goes on until it is done.",
        required=False,
    )
    days = forms.TypedMultipleChoiceField(
        label="On",
        coerce=int,
        required=False,
        choices=[(str(number), name[:3]) for number, name in enumerate(DAY_NAMES)],
        help_text="None chosen: each day.",
        widget=forms.CheckboxSelectMultiple,
    )
    updates = forms.ChoiceField(label="If it is there already", choices=UpdateRule.choices)
    at_once = _whole(
        "Machines at once",
        1,
        MOST_AT_ONCE,
        "Left empty: all. Each Ollama server pulls one model at a time.",
    )
    priority = _whole("Priority", LEAST_PRIORITY, MOST_PRIORITY, "1 is pulled first, 9 last.")
    catch_up = forms.BooleanField(
        label="If the hub was off, begin when it is back",
        required=False,
        help_text="Else it waits for the next time, unless its window is still open.",
    )
    zone = forms.CharField(
        label="Time zone",
        max_length=60,
        required=False,
        help_text="Such as Europe/Berlin. Left empty: that of the lab.",
        widget=forms.TextInput(attrs=PLAIN_TEXT),
    )
    cron = forms.CharField(
        label="At other times, as cron writes them",
        max_length=LONGEST_CRON,
        required=False,
        help_text="Minute, hour, day of the month, month, day of the week: 0 2 1 * * is the first"
        " of each month at 02:00. Takes the place of time and days above.",
        widget=forms.TextInput(attrs=PLAIN_TEXT),
    )

    FIRST: ClassVar[dict[str, Any]] = {
        "what": ScheduleWhat.MODELS,
        "at": time(2),
        "until": time(6),
        "updates": UpdateRule.NEVER,
        "priority": USUAL_PRIORITY,
    }

    def __init__(self, *args: Any, places: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = list(places)
        kept = [each for each in self.initial.get("nodes") or [] if each not in known]
        field = cast("forms.MultipleChoiceField", self.fields["nodes"])
        field.choices = [
            *((each, each) for each in known),
            *((each, f"{each} (gone)") for each in kept),
        ]

    @property
    def is_unfolded(self) -> bool:
        """Whether a folded field differs from how a form begins, or has an error."""
        return any(name in self.errors or self._differs(name) for name in FOLDED)

    def clean(self) -> dict[str, Any]:
        """Ask for one way of saying when."""
        data = super().clean() or {}
        if not data.get("cron") and data.get("at") is None and "at" not in self.errors:
            self.add_error("at", "Write a time of the day, such as 02:00.")
        return data

    def refuse(self, error: LabDashError, field: str | None = None) -> None:
        """Show what the domain refused beside the field that it is about."""
        text = str(error)
        super().refuse(error, field or next(name for words, name in ABOUT if words in text))

    def values(self) -> Fields:
        """Return it as the domain takes it."""
        data = self.cleaned_data
        return {
            "name": data["name"],
            "what": data["what"],
            "model_names": [each for each in re.split(r"[\s,;]+", data["models"]) if each],
            "nodes": data["nodes"],
            "cron": data["cron"] or cron_of(data["at"], data["days"]),
            "until": data["until"],
            "zone": data["zone"],
            "at_once": data["at_once"],
            "updates": data["updates"],
            "catch_up": data["catch_up"],
            "priority": data["priority"] or USUAL_PRIORITY,
        }

    def _differs(self, name: str) -> bool:
        value = self[name].value()
        return bool(value) and name != "zone" and str(value) != str(self.FIRST.get(name))


def initial_of(row: PullSchedule) -> dict[str, Any]:
    """Return how the form shows a schedule."""
    simple = simple_of(row.cron)
    days = sorted(simple.days) if simple else []
    return {
        "name": row.name,
        "what": row.what,
        "models": "\n".join(row.model_names),
        "nodes": row.nodes,
        "at": simple.at if simple else None,
        "days": [] if len(days) == len(DAY_NAMES) else [str(day) for day in days],
        "cron": "" if simple else row.cron,
        "until": row.until,
        "zone": row.zone,
        "at_once": row.at_once,
        "updates": row.updates,
        "catch_up": row.catch_up,
        "priority": row.priority,
    }
