"""The forms of the catalog: its filters, and an entry of one's own."""

from typing import ClassVar

from django import forms

from labdash.catalog.entries import CAPABILITIES
from labdash.forms import PlainForm
from labdash.queries.catalog import LARGER, SIZES, SOUGHT, UNTOLD, Filters, licences
from labdash.queries.fit_files import PACKED_LIMIT
from labdash.queries.fit_models import LONGEST_NAME

LONGEST_SEARCH = 100
# A name is no sentence: nothing helps to write it.
AS_WRITTEN = {"autocapitalize": "none", "autocomplete": "off", "spellcheck": "false"}


class CatalogForm(PlainForm):
    """What is looked for in the catalog."""

    q = forms.CharField(
        label="Name",
        max_length=LONGEST_SEARCH,
        required=False,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": "qwen", **AS_WRITTEN}),
        error_messages={"max_length": f"Search for at most {LONGEST_SEARCH} letters."},
    )
    size = forms.ChoiceField(
        label="Size",
        required=False,
        choices=[
            ("", "any"),
            *((str(each), f"up to {each} B") for each in SIZES),
            (LARGER, f"over {SIZES[-1]} B"),
        ],
        error_messages={"invalid_choice": "Choose a size of the list."},
    )
    licence = forms.ChoiceField(
        label="Licence",
        required=False,
        error_messages={"invalid_choice": "Choose a licence of the list."},
    )
    fits = forms.BooleanField(label="fits my lab", required=False)
    tools = forms.BooleanField(label="tools", required=False)
    vision = forms.BooleanField(label="vision", required=False)
    thinking = forms.BooleanField(label="thinking", required=False)
    code = forms.BooleanField(label="code", required=False)
    embedding = forms.BooleanField(label="embedding", required=False)
    own = forms.BooleanField(label="my own entries", required=False)

    SWITCHES: ClassVar = ("fits", *SOUGHT, "own")

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["licence"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - as it is declared
        field.choices = [("", "any"), *((each, each) for each in licences()), (UNTOLD, "not known")]

    def switches(self) -> list[forms.BoundField]:
        """Return the fields that are on or off."""
        return [self[name] for name in self.SWITCHES]

    def filters(self) -> Filters:
        """Return it as ``queries.catalog`` takes it."""
        data = self.cleaned_data
        return Filters(
            words=data["q"],
            fits=data["fits"],
            can=frozenset(name for name in SOUGHT if data[name]),
            most=data["size"],
            licence=data["licence"],
            own=data["own"],
        )


class SourceForm(PlainForm):
    """Where a new entry comes from: an address, or what a page keeps of a file."""

    model = forms.CharField(
        label="Address",
        max_length=LONGEST_NAME,
        required=False,
        help_text="Its header is read where it is published, a few MiB at most.",
        widget=forms.TextInput(attrs={"placeholder": "hf.co/user/repository:Q4_K_M", **AS_WRITTEN}),
    )
    facts = forms.CharField(
        max_length=PACKED_LIMIT, required=False, widget=forms.HiddenInput(attrs={"id": "facts"})
    )


class ChangeForm(PlainForm):
    """What of an entry is told by hand."""

    family = forms.CharField(
        label="Family",
        max_length=100,
        help_text="Those of one family are listed together.",
        error_messages={"required": "Write its family."},
    )
    license = forms.CharField(
        label="Licence", max_length=80, required=False, help_text="Left empty: not known."
    )
    capabilities = forms.MultipleChoiceField(
        label="It can",
        choices=[(each, each) for each in CAPABILITIES],
        widget=forms.CheckboxSelectMultiple,
        error_messages={
            "required": "Tick what it can.",
            "invalid_choice": "Tick what is in the list.",
        },
    )

    def told(self) -> dict[str, object]:
        """Return it as keys of an entry."""
        told = {**self.cleaned_data, "license": self.cleaned_data["license"] or None}
        told.pop("replace", None)
        return told


class EntryForm(ChangeForm):
    """What a file does not say of itself. ``replace`` is ticked where the name is taken."""

    name = forms.CharField(
        label="Name",
        max_length=100,
        error_messages={"required": "Give it a name."},
    )
    replace = forms.BooleanField(label="Put this in its place", required=False)
