"""What a model for ten machines costs upstream: a real hub and real node workers copy it."""

import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.benchmarks.big_lab import OWNER, PASSWORD, BigLab, big_lab
from tests.benchmarks.simulation import NODES
from tests.deploy.running import Visitor
from tests.figures import Tell
from tests.processes import eventually

pytestmark = [pytest.mark.long, pytest.mark.e2e]

MODEL = "gemma3:4b-it-q8_0"
TIMEOUT_S = 10
# Each asks for the manifest, and what is broken off is fetched again in part.
MOST_DOWNLOADS = 1.05


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BigLab]:
    with big_lab(tmp_path_factory.mktemp("ten")) as running:
        yield running


def test_ten_pulls_of_one_model_cost_one_download(lab: BigLab, tell: Tell) -> None:
    visitor = Visitor(lab.running.port)
    visitor.post("/sign-in/", username=OWNER, password=PASSWORD)
    _, page = visitor.get("/pulls/")
    places = re.findall(r'name="instances" value="(\d+)"', page)
    assert len(places) == NODES
    before = _given(lab)
    status, _ = visitor.post("/pulls/", to="/pulls/new/", model=MODEL, instances=places)
    assert status < 400
    assert eventually(lambda: all(map(_has_model, lab.simulation["machines"])))
    downloads = (_given(lab) - before) / _size(lab)
    tell(f"a model for {NODES} machines", f"{downloads:.2f} downloads", goal="1")
    assert downloads <= MOST_DOWNLOADS
    assert len({_installed(each).get(MODEL) for each in lab.simulation["machines"]}) == 1


def _given(lab: BigLab) -> int:
    return int(_read(f"{lab.simulation['control_url']}/registry")["given_bytes"])


def _size(lab: BigLab) -> int:
    models = _read(f"{lab.simulation['machines'][0]['ollama_urls'][0]}/api/tags")["models"]
    return int(next(each["size"] for each in models if each["name"] == MODEL))


def _installed(machine: dict[str, list[str]]) -> dict[str, str]:
    models = _read(f"{machine['ollama_urls'][0]}/api/tags")["models"]
    return {each["name"]: each["digest"] for each in models}


def _has_model(machine: dict[str, list[str]]) -> bool:
    return MODEL in _installed(machine)


def _read(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - loopback
        found: dict[str, Any] = json.load(answer)
    return found
