"""What of the catalog fits: with what reads images beside it."""

import pytest
from django.utils import timezone

from labdash.catalog.gpus import find_gpu
from labdash.catalog.models import find_model
from labdash.queries.catalog import read_family
from labdash.queries.catalog_fits import quant_fit
from labdash.queries.fit_places import what_if_place


@pytest.mark.parametrize(("size_gb", "kind"), [(5, "part"), (6, "whole")])
def test_a_model_that_sees_needs_room_for_its_projector(size_gb: int, kind: str) -> None:
    facts = find_gpu("NVIDIA GeForce RTX 3060", 12 * 2**30)
    assert facts
    # 2.5 GB of weights, and 0.85 GB that Ollama loads on the same card.
    known = find_model("gemma3:4b").model
    assert known.files[0].projector_bytes == 851_251_104
    assert quant_fit(known, "Q4_K_M", (what_if_place(facts, size_gb),)).kind == kind


@pytest.mark.django_db
def test_family_is_shown_though_patience_ends_before_all_is_worked_out() -> None:
    found = read_family("Qwen3", now=timezone.now(), patience_s=0.0)
    assert found
    assert len(found.entries) > 3
    assert all(entry.fit is None for entry in found.entries)
