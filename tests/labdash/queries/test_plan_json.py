"""A plan as scripts read it."""

import json
from dataclasses import replace

from labdash.planner.lab import Deployment
from labdash.planner.plan import (
    Choice,
    DeviceLoad,
    Move,
    Placement,
    Plan,
    Proposal,
    Refusal,
    Score,
    WayOut,
)
from labdash.queries.plan_json import plan_json
from labdash.queries.variants import variants_of

WANTED = Deployment(
    name="chat", model="qwen3:8b", variants=variants_of("qwen3:8b"), ctx_floor=1, ctx_wish=2
)
CHOICE = Choice(
    variant=WANTED.variants[0],
    node="rog",
    instance="rog:11434",
    form="gpu",
    ctx=8192,
    parallel=1,
    kv_type="f16",
    flash_attn=True,
    num_batch=512,
    num_gpu=None,
    main_gpu=1,
    layers={"rog/1": 37},
    bytes={"rog/1": 7, "rog/cpu": 1},
    host_bytes=1,
    predicted_bytes=9,
    margin_bytes=3,
    tokens_per_s=61.23456,
    download_bytes=0,
)
PLAN = Plan(
    status="feasible",
    score=Score(served=(1, 0), cpu_layers=2, value=0.5, moved_bytes=9),
    gap=None,
    placements=(
        Placement(deployment=WANTED, replica=0, choice=CHOICE, load_order=1, reasons=("why",)),
    ),
    refusals=(
        Refusal(
            deployment=WANTED,
            replica=1,
            limit="gpu",
            text="needs more",
            short_bytes=5,
            nearest=(WayOut(kind="ctx", text="at 4096", value=4096),),
        ),
    ),
    devices=(
        DeviceLoad(node="rog", device="rog/1", total_bytes=24, reserved_bytes=2, planned_bytes=7),
    ),
    proposals=(
        Proposal(
            instance="rog:11434",
            kind="environment",
            lines=("A=1",),
            gains=("more",),
            losses=("less",),
            text="so",
        ),
    ),
    moves=(
        Move(
            kind="load",
            deployment="chat",
            instance="rog:11434",
            model="qwen3:8b",
            bytes=7,
            text="loads",
        ),
    ),
)


def test_the_shape_is_the_one_that_scripts_rely_on() -> None:
    written = json.loads(json.dumps(plan_json(PLAN)))
    assert (written["status"], written["gap"]) == ("feasible", None)
    assert written["score"] == [1, 0, -2, 0.5, -9]
    (placement,), (refusal,) = written["placements"], written["refusals"]
    named = {
        "deployment", "variant", "quant", "instance", "node", "ctx", "kv_type", "num_gpu",
        "main_gpu", "num_batch", "parallel", "layers", "bytes", "host_bytes", "tokens_per_s",
        "download_bytes", "load_order", "reasons",
    }  # fmt: skip
    assert named <= set(placement)
    assert (placement["variant"], placement["layers"]) == ("qwen3:8b", {"rog/1": 37})
    assert placement["tokens_per_s"] == 61.23
    assert (refusal["limit"], refusal["short_bytes"]) == ("gpu", 5)
    assert refusal["nearest"] == [{"kind": "ctx", "text": "at 4096", "value": 4096}]
    assert written["devices"] == [
        {
            "node": "rog",
            "device": "rog/1",
            "total_bytes": 24,
            "reserved_bytes": 2,
            "planned_bytes": 7,
        }
    ]
    assert written["proposals"] == [
        {
            "instance": "rog:11434",
            "kind": "environment",
            "lines": ["A=1"],
            "gains": ["more"],
            "text": "so",
            "losses": ["less"],
        }
    ]
    assert written["moves"] == [
        {
            "kind": "load",
            "deployment": "chat",
            "instance": "rog:11434",
            "model": "qwen3:8b",
            "bytes": 7,
            "text": "loads",
        }
    ]


def test_only_a_clock_that_ended_the_search_is_told() -> None:
    assert "limited_by" not in plan_json(PLAN)
    assert plan_json(replace(PLAN, limited_by="time"))["limited_by"] == "time"


def test_an_unknown_speed_is_none() -> None:
    unknown = replace(PLAN.placements[0], choice=replace(CHOICE, tokens_per_s=None))
    assert plan_json(replace(PLAN, placements=(unknown,)))["placements"][0]["tokens_per_s"] is None
