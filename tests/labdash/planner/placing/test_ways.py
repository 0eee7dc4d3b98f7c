"""Which loads are tried, and what comes of a large model that shares a GPU by turns."""

from labdash.planner.lab import Deployment, Lab
from labdash.planner.placement import choices
from labdash.planner.placing.ways import is_left
from labdash.planner.plan import Choice
from labdash.planner.solve import solve
from tests.labdash.planner.small_labs import deployment, lab, node, variant

LARGE, SMALL, MIXED = variant("qwen3:14b"), variant("llama3.2:3b"), variant("qwen3:30b-a3b")


def short(*wanted: Deployment) -> Lab:
    """Return a card that is too small for the large model."""
    return lab(node("rog", 8.0), wanted=wanted)


def on_demand(of: str) -> Deployment:
    file = LARGE if of == "large" else SMALL
    return deployment(
        file, name=of, ctx_floor=4096, ctx_wish=4096, residency="on-demand", offload_allowed=True
    )


def in_part(wanted: Deployment) -> set[bool]:
    """Tell whether the layers of what is divided are said."""
    found = choices(short(), wanted)
    return {each.num_gpu is not None for each in found if each.form == "partial"}


def chosen(plan_of: Lab) -> dict[str, Choice]:
    return {each.deployment.name: each.choice for each in solve(plan_of).placements}


def test_layers_are_left_to_the_engine_where_that_pays() -> None:
    assert is_left(on_demand("large"))
    assert not is_left(deployment(LARGE))
    assert is_left(deployment(MIXED))


def test_on_demand_both_are_weighed_and_a_resident_is_told_its_layers() -> None:
    resident = deployment(LARGE, ctx_floor=4096, ctx_wish=4096, offload_allowed=True)
    assert in_part(on_demand("large")) == {True, False}
    assert in_part(resident) == {True}


def test_a_large_guest_drives_a_small_one_out_and_keeps_to_the_gpu() -> None:
    found = chosen(short(on_demand("large"), on_demand("small")))
    assert (found["large"].form, found["large"].num_gpu) == ("partial", None)
    assert found["large"].cpu_layers < 15
    assert found["small"].form == "gpu"
