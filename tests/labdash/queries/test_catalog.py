"""The catalog in a lab: what is worked out first, and what a mixture uses."""

from dataclasses import replace

import pytest
from django.utils import timezone

from labdash.catalog.models import CatalogModel, find_model
from labdash.queries import catalog
from labdash.queries.catalog import Entry, Filters, read_catalog
from labdash.queries.catalog_fits import LabFit
from labdash.queries.fit_places import Place


@pytest.mark.parametrize("name", ["Qwen3-30B-A3B", "Qwen3-235B-A22B", "Mixtral-8x7B-Instruct-v0.1"])
def test_what_a_mixture_uses_is_counted_where_no_source_tells_it(name: str) -> None:
    model = find_model(name).model
    told = Entry(model=model, fit=None).active
    assert told
    assert Entry(model=replace(model, params_active=None), fit=None).active == told


def test_a_model_that_is_no_mixture_uses_all_of_it() -> None:
    assert Entry(model=find_model("qwen3:8b").model, fit=None).active == ""


@pytest.mark.django_db
def test_what_stands_first_on_the_page_is_worked_out_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def fit(model: CatalogModel, _places: tuple[Place, ...]) -> LabFit:
        asked.append(model.name)
        return LabFit(kind="whole", quant="Q4_K_M")

    monkeypatch.setattr(catalog, "lab_fit", fit)
    found = read_catalog(Filters(words="gemma"), now=timezone.now(), patience_s=60)
    assert asked == [entry.model.name for family in found.families for entry in family.entries]
    days = [max(entry.model.released or "" for entry in f.entries) for f in found.families]
    assert days == sorted(days, reverse=True)
    assert len(days) > 3


@pytest.mark.django_db
def test_no_patience_leaves_all_of_it_open() -> None:
    found = read_catalog(Filters(words="gemma"), now=timezone.now(), patience_s=0)
    assert (found.open, found.fitting) == (found.shown, 0)
    assert found.open > 0
