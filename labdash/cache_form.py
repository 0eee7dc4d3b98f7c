"""The form of the hub's cache."""

from django import forms

from labdash.forms import PlainForm
from labdash.wording import GIB

LEAST_GIB, MOST_GIB = 5, 65_536


class CacheForm(PlainForm):
    """How large the cache may grow."""

    limit_gib = forms.IntegerField(
        label="Size limit in GiB",
        min_value=LEAST_GIB,
        max_value=MOST_GIB,
        help_text="When it is full, the models that were not asked for the longest make room.",
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
        error_messages={
            "required": "Write a size in GiB, such as 200.",
            "invalid": "Write a whole number of GiB, such as 200.",
            "min_value": f"Below {LEAST_GIB} GiB no model fits.",
            "max_value": f"Write at most {MOST_GIB} GiB.",
        },
    )

    @property
    def limit_bytes(self) -> int:
        """Return what was written in bytes."""
        return int(self.cleaned_data["limit_gib"]) * GIB
