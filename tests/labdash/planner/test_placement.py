"""Where a deployment can go in an empty lab."""

from labdash.planner.placement import choices, profiles
from tests.labdash.planner.small_labs import deployment, lab, node, variant


def test_alike_cards_are_one_profile_with_a_member_each() -> None:
    found = profiles(lab(node("rog", 24.0, 24.0)), deployment(variant("qwen3:14b")))
    assert [member.gpus for member in found[0].members] == [(0,), (1,)]
    assert [member.main_gpu for member in found[0].members] == [0, 1]


def test_one_gpu_needs_no_pin() -> None:
    found = choices(lab(node("rog", 24.0)), deployment(variant("qwen3:14b")))
    assert {(each.form, each.main_gpu, each.num_gpu) for each in found} == {("gpu", None, None)}
