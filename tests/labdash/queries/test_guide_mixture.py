"""Mixtures of experts: the reader's own is the example, with what it holds there now."""

import pytest
from django.utils import timezone

from labdash.queries.guide_mixture import MIXTURE, Mixtures, read_mixtures
from labdash.queries.guide_places import own_places
from labdash.queries.lab import read_lab
from labdash.queries.library import read_library
from tests.labdash.views.sample_lab import GIB, add, gpu, install, loaded, process, reading, sample

pytestmark = pytest.mark.django_db
CARD = "NVIDIA GeForce RTX 3090"


def read() -> Mixtures:
    lab, library = read_lab(now=timezone.now()), read_library()
    return read_mixtures(lab, library, own_places(lab, library), 8192)


def test_lab_without_a_mixture_sees_a_usual_one() -> None:
    install(add(sample("rog", [gpu("GPU-0", 0, CARD, 24)], [reading()])), "qwen3:8b", "Q4_K_M", 5)
    found = read()
    assert (found.mixture, found.nodes) == (MIXTURE, ())
    assert not any(row.place.node for row in found.rows)
    for row in found.rows:
        assert row.mixture.used_bytes == pytest.approx(row.dense.used_bytes, rel=0.2)
        assert row.mixture.speed is not None
        assert row.dense.speed is not None
        assert row.mixture.speed.low > 2 * row.dense.speed.low


def test_mixture_that_a_machine_has_comes_first() -> None:
    install(add(sample("bare", [], [reading()])), "qwen3:8b", "Q4_K_M", 5)
    node = add(sample("rog", [gpu("GPU-0", 0, CARD, 24)], [reading()]))
    install(node, "gpt-oss:20b", "MXFP4", 13)
    found = read()
    assert (found.mixture, found.nodes) == ("gpt-oss:20b", ("rog",))
    assert found.rows[0].place.node == "rog"
    assert found.rows[0].held is None
    assert found.active < found.total
    assert found.dense == "qwen3:14b"


def test_mixture_in_memory_tells_what_the_driver_measured() -> None:
    name = "qwen3:30b"
    for slug, is_loaded in (("old", False), ("rog", True)):
        held = (process(7, "ollama", 19.5, name),) if is_loaded else ()
        models = (loaded(name, 19.5, 19.5),) if is_loaded else ()
        card = gpu(f"GPU-{slug}", 0, CARD, 24, processes=held)
        install(add(sample(slug, [card], [reading(*models)])), name, "Q4_K_M", 18.6)
    found = {row.place.node: row.held for row in read().rows}
    measured = found["rog"]
    assert measured is not None
    assert (measured.size_bytes, measured.is_measured) == (int(19.5 * GIB), True)
    assert found["old"] is None
