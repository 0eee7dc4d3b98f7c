from dataclasses import replace

import pytest

from labdash.planner.lab import Lab, Running
from labdash.planner.placing.inventory import Spot, inventory_of, is_cloud
from tests.planning.labs import GIB, gpu_node, variant, want

WANTED = want("chat", "llama3.2:1b", ("Q8_0",), (2048, 2048))
FILE = variant("llama3.2:1b", "Q8_0")


def lab(running: Running, *, blobs: dict[str, str]) -> Lab:
    node = gpu_node("rog", 4)
    server = replace(node.instances[0], running=(running,), blobs=blobs)
    return Lab(nodes=(replace(node, instances=(server,)),), deployments=(WANTED,))


@pytest.mark.parametrize(
    ("name", "is_far"),
    [
        ("gpt-oss:120b-cloud", True),
        ("gpt-oss:cloud", True),
        ("someone/model:1b-Cloud", True),
        ("gpt-oss:120b", False),
        ("my-cloud", False),
        ("my-cloud/model", False),
        ("cloud", False),
        ("nas:5000/library/my-cloud", False),
        ("qwen3:cloudy", False),
    ],
)
def test_names_of_a_cloud_are_told_by_their_tag(name: str, *, is_far: bool) -> None:
    assert is_cloud(name) is is_far


def test_what_runs_under_its_own_name_is_found_once() -> None:
    running = Running(name=FILE.name, ctx=2048, gpu_bytes={0: GIB})
    assert FILE.digest is not None
    here = lab(running, blobs={FILE.name: FILE.digest})
    assert inventory_of(here).spots(WANTED) == (Spot("rog:11434", frozenset({0})),)


def test_what_runs_under_an_alias_is_found_by_its_digest() -> None:
    running = Running(name="labdash/chat:latest", ctx=2048, gpu_bytes={0: GIB})
    assert FILE.digest is not None
    here = lab(running, blobs={"labdash/chat": FILE.digest})
    assert inventory_of(here).spots(WANTED) == (Spot("rog:11434", frozenset({0})),)


def test_other_weights_are_not_found() -> None:
    running = Running(name="labdash/chat:latest", ctx=2048)
    assert inventory_of(lab(running, blobs={"labdash/chat": "sha256:other"})).spots(WANTED) == ()
