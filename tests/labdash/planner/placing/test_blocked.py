"""Why a deployment can be served nowhere."""

from dataclasses import replace
from typing import Any

import pytest

from labdash.planner.lab import Deployment, Node
from labdash.planner.placement import choices, why_none
from labdash.planner.placing.inventory import download_bytes
from tests.labdash.planner.small_labs import GIB, card, deployment, lab, node, variant

Q14 = variant("qwen3:14b")


@pytest.mark.parametrize(
    ("where", "wanted", "limit"),
    [
        ({}, {"variants": (), "unknown": "model", "unknown_text": "Nobody knows it."}, "model"),
        ({}, {"variants": ()}, "quant"),
        ({}, {"nodes": frozenset({"nowhere"})}, "nodes"),
        ({"away": "asleep"}, {}, "nodes"),
        ({"instances": ()}, {}, "nodes"),
        ({}, {"pin": "rog/7"}, "pin"),
        ({}, {"ctx_floor": 131_072, "ctx_wish": 131_072}, "context"),
        ({}, {"kv_types": ("q8_0",)}, "instance"),
        ({}, {"parallel": 2}, "instance"),
        ({}, {"ctx_floor": 32_768, "ctx_wish": 32_768}, "gpu"),
        ({"ram_bytes": 4 * GIB, "cards": ()}, {"offload_allowed": True}, "ram"),
        ({"cards": (), "ram_bytes": None}, {}, "gpu"),
        ({"disk_free_bytes": GIB}, {"ctx_floor": 4096, "ctx_wish": 4096}, "disk"),
        ({}, {"ctx_floor": 4096, "ctx_wish": 4096, "min_tokens_per_s": 500.0}, "speed"),
    ],
)
def test_the_limit_that_binds_is_told(
    where: dict[str, Any], wanted: dict[str, Any], limit: str
) -> None:
    place = node("rog", 12.0, **where)
    asked = Deployment(**{**vars(deployment(Q14)), **wanted})
    assert choices(lab(place), asked) == ()
    found = why_none(lab(place), asked)
    assert found.limit == limit
    assert found.text.endswith(".")


def short_text(place: Node) -> str:
    found = why_none(lab(place), deployment(Q14))
    assert found.short_bytes
    return found.text


def test_what_one_gpu_lacks_is_told_in_figures() -> None:
    used = card(12.0, used_bytes=int(2.5 * GIB))
    assert short_text(node("rog", 12.0, cards=(used,))) == (
        "It needs 9.7 GiB on one GPU; rog/0 has 9.5 free of 12.0 (1.0 GiB of it is kept free)."
    )


def test_the_nearest_of_several_places_is_told() -> None:
    places = lab(node("small", 6.0), node("rog", 10.0))
    found = why_none(places, deployment(Q14))
    assert "rog/0" in found.text


def test_a_part_of_a_split_is_not_told_as_a_need_of_one_gpu() -> None:
    place = node("rog", 8.0, 8.0)
    kept = replace(place.cards[0], reserve_bytes=4 * GIB)
    found = why_none(lab(replace(place, cards=(kept, place.cards[1]))), deployment(Q14))
    assert " GiB on rog/0, split over the GPUs of rog:11434; rog/0 has" in found.text


def test_the_disk_of_a_machine_that_could_serve_it_is_told() -> None:
    large = replace(node("large", 24.0), disk_free_bytes=2 * GIB)
    small = replace(node("small", 4.0), disk_free_bytes=400 * GIB)
    slow = tuple(replace(each, bandwidth_gbs=50.0) for each in node("slow", 24.0).cards)
    slow_one = replace(node("slow", 24.0), cards=slow, disk_free_bytes=400 * GIB)
    asked = deployment(Q14, ctx_floor=4096, ctx_wish=4096, min_tokens_per_s=20.0)
    found = why_none(lab(large, small, slow_one), asked)
    assert found.limit == "disk"
    assert found.text.endswith("; large has 2.0 GiB of disk free.")
    assert found.short_bytes == download_bytes(Q14) - 2 * GIB
