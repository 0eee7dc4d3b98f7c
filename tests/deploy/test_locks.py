"""The lock files."""

import re
from pathlib import Path

import pytest

from labdash.env import ROOT

LOCKS = sorted((ROOT / "deploy").glob("*.lock"))
PIN = re.compile(r"^([a-z0-9-]+(?:\[[a-z]+\])?==\S+)", re.MULTILINE)


def pins(name: str) -> set[str]:
    return set(PIN.findall((ROOT / "deploy" / f"{name}.lock").read_text()))


def test_each_holds_versions_and_hashes_and_no_addresses() -> None:
    assert [lock.stem for lock in LOCKS] == ["dev", "hub", "node", "uv"]
    for lock in LOCKS:
        entries = lock.read_text().replace("\\\n", " ").splitlines()
        assert all("--hash=sha256:" in entry for entry in entries if not entry.startswith("#"))
        assert "://" not in lock.read_text()


@pytest.mark.parametrize(("inner", "outer"), [("node", "hub"), ("hub", "dev")])
def test_each_is_part_of_the_next(inner: str, outer: str) -> None:
    assert pins(inner) - pins(outer) == set()


def test_a_node_has_nothing_of_django() -> None:
    assert not [pin for pin in pins("node") if pin.startswith(("django", "waitress", "psycopg"))]


def test_they_say_where_they_come_from() -> None:
    heads = {lock.stem: Path(lock).read_text().splitlines()[0] for lock in LOCKS}
    assert all("Made by deploy/lock" in head for head in heads.values()), heads
