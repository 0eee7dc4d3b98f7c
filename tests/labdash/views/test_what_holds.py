"""What is said of a GPU that sleeps, and of models whose processes are not seen."""

import pytest
from django.test import Client

from tests.labdash.views.polling import text_of
from tests.labdash.views.sample_lab import GIB, add, gpu, loaded, reading, sample

pytestmark = pytest.mark.django_db


def test_a_sleeping_gpu_is_told_so_beside_one_that_is_awake(page: Client) -> None:
    cards = [
        gpu("a", 0, "NVIDIA GeForce RTX 3090", 24),
        gpu(
            "b",
            1,
            "NVIDIA GeForce RTX 3090",
            24,
            asleep=True,
            memory_used_bytes=None,
            memory_free_bytes=None,
            memory_reserved_bytes=None,
            utilization_percent=None,
            temperature_celsius=None,
            power_watts=None,
        ),
    ]
    add(sample("rog", cards, [reading()]))
    for url in ("/", "/nodes/rog/"):
        shown = text_of(page.get(url))
        assert shown.count("asleep / 24.0 GiB") == 1
        assert shown.count("Asleep: it is not asked what it holds") == 1


def test_models_by_ollamas_word_say_why_in_a_sum_that_is_measured(page: Client) -> None:
    card = gpu("a", 0, "NVIDIA GeForce RTX 3090", 24, memory_used_bytes=8 * GIB)
    add(sample("rog", [card], [reading(loaded("qwen3:8b", 7, 7))]))
    for url in ("/", "/nodes/rog/"):
        shown = text_of(page.get(url))
        assert "8.0 / 24.0 GiB" in shown
        assert "models as Ollama reports: their processes are not to be seen from here" in shown
