"""Two workers that report as one node."""

import pytest

from labdash.rivals import Rivals
from tests.factories import sample
from workers import wire


def by(worker_id: str | None, hostname: str | None = None) -> wire.Sample:
    return sample("rog", worker_id=worker_id, host=wire.HostReading(hostname=hostname))


@pytest.mark.parametrize("ids", ["aaaa", "aabb", "aabbcc", "abc"])
def test_worker_that_is_started_anew_is_no_rival(ids: str) -> None:
    rivals = Rivals()
    for each in ids:
        rivals.note(by(each))
        assert rivals.of(by(each)) is None


@pytest.mark.parametrize("ids", ["aba", "aabba", "abab"])
def test_worker_that_comes_back_has_a_rival(ids: str) -> None:
    rivals = Rivals()
    for each in ids:
        rivals.note(by(each, f"host-{each}"))
    assert rivals.of(by("a")) == "host-b"
    assert rivals.of(by("b")) == "host-a"


def test_other_nodes_have_none() -> None:
    rivals = Rivals()
    for each in "aba":
        rivals.note(by(each))
    assert rivals.of(sample("tower", worker_id="a")) is None


def test_worker_that_does_not_tell_who_it_is_is_none() -> None:
    rivals = Rivals()
    for each in ("a", None, "a", None):
        rivals.note(by(each))
    assert rivals.of(by("a")) is None


def test_rival_of_no_name_is_another_machine() -> None:
    rivals = Rivals()
    for each in "aba":
        rivals.note(by(each))
    assert rivals.of(by("a")) == "another machine"


def test_rival_is_forgotten_when_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    rivals = Rivals()
    for each in "aba":
        rivals.note(by(each))
    monkeypatch.setattr("labdash.rivals.TOLD_FOR_S", -1)
    assert rivals.of(by("a")) is None
