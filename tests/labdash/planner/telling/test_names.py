from dataclasses import replace

import pytest

from labdash.planner.lab import Instance
from labdash.planner.telling import names
from tests.planning.choices import choice, placed
from tests.planning.labs import variant, want

Q4 = variant("qwen3:14b", "Q4_K_M")


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("qwen3:32b", "labdash/qwen3-32b"),
        ("Chat.Main_2", "labdash/chat.main_2"),
        ("a b/ü", "labdash/a-b--"),
    ],
)
def test_an_alias_has_only_what_a_name_may_have(name: str, alias: str) -> None:
    assert names.alias_of(name) == alias


def test_a_deployment_is_served_under_its_alias_or_its_models_name() -> None:
    wanted = want("chat", "qwen3:14b", ("Q4_K_M",), (4096, 8192))
    assert names.served(placed(wanted, choice(Q4))) == "labdash/chat"
    kept = replace(wanted, same_name=True)
    assert names.served(placed(kept, choice(Q4))) == "qwen3:14b-q4_k_m"


def instance(**changes: object) -> Instance:
    made = Instance(name="rog:11434", version="0.32.15", build=10573, gpus=(0,))
    return replace(made, **changes)  # type: ignore[arg-type]


def test_weights_are_known_by_a_name() -> None:
    named = replace(Q4, names=frozenset({"Mine"}), digest=None)
    assert names.is_of("mine:latest", named, instance())
    assert not names.is_of("other", named, instance())


def test_weights_are_known_by_their_digest_under_another_name() -> None:
    assert Q4.digest is not None
    there = instance(blobs={"copy:latest": Q4.digest.removeprefix("sha256:")})
    assert names.is_of("copy", Q4, there)


def test_a_name_whose_weights_are_others_is_not_taken_for_them() -> None:
    assert not names.is_of(Q4.name, Q4, instance(blobs={Q4.name: "sha256:other"}))
