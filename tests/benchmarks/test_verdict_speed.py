"""How fast the page before a pull is, of a lab of ten machines and all quants of a family."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.fixtures import Settings

from labdash.planner.memory.estimate import estimate
from labdash.queries import published
from labdash.sources.ranges import Service
from tests.figures import Tell
from tests.labdash.views.sample_lab import add, gpu, loaded, reading, sample

pytestmark = [pytest.mark.long, pytest.mark.django_db]

# Sizes of the cards in GiB.
MACHINES = ((24, 24), (12,), (24, 24, 24), (8,), (), (24,), (16,), (11,), (48,), (6, 6))
MODELS = ("qwen3:14b", "qwen3:30b", "gemma3:27b")
WARM_S = 0.5
PLAIN = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}


@pytest.fixture
def page(db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Client:
    settings.STORAGES = {**settings.STORAGES, "staticfiles": PLAIN}
    monkeypatch.setattr(published, "ollama_registry", lambda: Service("http://127.0.0.1:9", ()))
    for number, cards in enumerate(MACHINES):
        gpus = [
            gpu(f"GPU-{number}-{index}", index, "NVIDIA GeForce RTX 3090", gib)
            for index, gib in enumerate(cards)
        ]
        held = loaded("llama3.2:1b", 1.5, 1.5 if cards else 0)
        add(sample(f"node{number}", gpus, [reading(held)]))
    client = Client()
    client.force_login(User.objects.create_superuser("owner"))
    return client


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count the estimates that are made."""
    found = [0]

    def called(frame: FrameType, event: str, _argument: Any) -> None:
        found[0] += event == "call" and frame.f_code is estimate.__code__

    sys.setprofile(called)
    try:
        yield found
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("model", MODELS)
def test_page_before_a_pull_is_fast(page: Client, model: str, tell: Tell) -> None:
    url = f"/pulls/new/?model={model}&context=16384"
    began = time.process_time()
    page.get(url)
    first = time.process_time() - began
    url += "&look=all"
    began = time.process_time()
    text = page.get(url).content.decode()
    cold = time.process_time() - began
    began = time.process_time()
    page.get(url)
    warm = time.process_time() - began
    with counted() as estimates:
        page.get(url)
    cells = text.count("data-label=") - 2 * text.count('data-label="Size"')
    what = f"before a pull of {model}, {len(MACHINES)} machines, {cells} cells"
    tell(what, f"{warm * 1000:.0f} ms warm, {cold:.1f} s cold", goal="500 ms warm")
    tell(f"{what}, the page itself", f"{first * 1000:.0f} ms", goal="1000 ms")
    tell(f"{what}, shown again", f"{estimates[0]} estimates of memory", goal="0")
    assert cells >= 80
    assert warm <= WARM_S
    assert estimates[0] == 0
