"""What the hub and the process that solves say to each other."""

import io

from labdash.domain.solver import frame, packed, parts, read_frame, unpacked
from labdash.planner.explain import explained
from labdash.planner.greedy import quick
from tests.planning.real_labs import real_lab


def test_frames_are_read_one_after_another_and_broken_ones_never() -> None:
    stream = io.BytesIO(frame(b"one") + frame(b"") + frame(b"broken")[:-1])
    assert [read_frame(stream) for _ in range(3)] == [b"one", b"", None]


def test_a_plan_comes_back_with_the_labs_own_parts() -> None:
    lab = real_lab("06")
    plan = explained(lab, quick(lab))
    content = packed(("told", plan), lab)
    stage, again = unpacked(content, lab)
    assert stage == "told"
    assert again == plan
    own = {id(each) for each in parts(lab)}
    assert all(id(each.choice.variant) in own for each in again.placements)
    # Without the tensors of the models.
    assert len(content) < 20_000
