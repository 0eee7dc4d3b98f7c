"""Whose turn it is when a schedule pulls to some machines at once. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A machine with something left to pull.

    ``is_busy``: it has begun. ``is_able``: it is awake and may begin something.
    """

    node: str
    is_busy: bool = False
    is_able: bool = True


def whose_turn(candidates: Iterable[Candidate], at_once: int | None) -> frozenset[str]:
    """Return the machines that may pull now: who has begun goes on, who cannot keeps nobody out."""
    order = sorted(candidates, key=_rank)
    return frozenset(each.node for each in order[:at_once])


def _rank(candidate: Candidate) -> tuple[bool, bool, str]:
    return not candidate.is_able, not candidate.is_busy, candidate.node


def turn_words(name: str, at_once: int) -> str:
    """Say why a machine waits."""
    machines = "one machine" if at_once == 1 else f"{at_once} machines"
    return f"Waits for its turn: {name} pulls to {machines} at a time."
