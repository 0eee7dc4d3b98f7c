"""What guests of one server do to each other is what trying all crowds of them shows."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from random import Random

import pytest

from labdash.planner.lab import Node
from labdash.planner.placement import choices
from labdash.planner.placing.filling import Conflict, Fill, Pick, Same, site_of
from labdash.planner.placing.turns import LARGEST_CROWD, taking_turns
from tests.labdash.planner.small_labs import GIB, deployment, lab, node, variant

WHERE = node("rog", 24.0, 24.0)
SMALL = variant("llama3.2:1b")
EVERY_LAYER = SMALL.model.shape.block_count + 1


def some_guests(chance: Random, where: Node = WHERE) -> list[Pick]:
    """Make up guests that Ollama takes for smaller or larger than they are."""
    wanted = deployment(SMALL, ctx_wish=8192, residency="on-demand")
    known = choices(lab(where), wanted)
    guests = []
    for number in range(chance.randrange(2, 8)):
        like, size = chance.choice(known), chance.randrange(1, 12)
        (device,) = like.gpu_devices
        choice = replace(
            like,
            bytes={**like.bytes, device: size * GIB},
            predicted_bytes=int(size * chance.uniform(0.6, 0.9) * GIB),
            margin_bytes=chance.choice((0, GIB)),
        )
        guests.append(Pick(deployment=replace(wanted, name=f"d{number}"), replica=0, choice=choice))
    return guests


def crowds(guests: Sequence[Pick], guest: Pick, most: int) -> Iterator[int]:
    """Yield what is left of a guest's GPU by each crowd that fits there, without any insight."""
    (device,) = guest.choice.gpu_devices
    sizes = [g.choice.bytes[device] for g in guests if g is not guest and device in g.choice.bytes]
    for count in range(1, most + 1):
        yield from (24 * GIB - sum(some) for some in combinations(sizes, count))


def comes_out(guests: Sequence[Pick], guest: Pick, most: int) -> int | str | None:
    """Tell what is said of a guest's layers, or that it would not fit where Ollama tries."""
    choice = guest.choice
    (size,) = choice.gpu_bytes.values()
    said: int | None = None
    for free in crowds(guests, guest, most):
        if free >= 0 and choice.predicted_bytes <= 0.8 * free:
            if size > free:
                return "squeezed"
            if size + choice.margin_bytes > free:
                said = EVERY_LAYER
    return said


@pytest.mark.parametrize("seed", range(80))
def test_guests_come_out_as_by_trying_all_crowds(seed: int) -> None:
    guests = some_guests(Random(seed))  # noqa: S311 - any numbers do
    expected = [comes_out(guests, guest, LARGEST_CROWD) for guest in guests]
    found = taking_turns(site_of(Same(WHERE)), Fill({}), guests, residents=0)
    if isinstance(found, Conflict):
        assert "squeezed" in expected
    else:
        assert [choice.num_gpu for _, choice in found] == expected
