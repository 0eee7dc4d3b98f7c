"""What is written of a lab reads back the same."""

from datetime import time
from pathlib import Path

import pytest

from labdash.env import ROOT
from labdash.queries.lab_entries import (
    GpuEntry,
    InstanceEntry,
    LabEntries,
    LoadedEntry,
    NodeEntry,
    Wanted,
)
from labdash.queries.lab_file import read
from labdash.queries.lab_schedules import ScheduleEntry
from labdash.queries.lab_text import gib, lab_text

GIB = 1 << 30
LABS = sorted((ROOT / "tests" / "fixtures" / "labs").glob("*.toml"))
# Nothing is as usual.
ODD = LabEntries(
    nodes=(
        NodeEntry(
            name='r"og\\',
            tags=("a b", "ü"),
            kind="mac",
            ram_bytes=1,
            ram_used_bytes=0,
            ram_gbs=50.5,
            disk_free_bytes=123_456_789_012,
            asleep=True,
            agentless=True,
            gpu_share_bytes=1,
            gpus=(
                GpuEntry(
                    name="Some Card",
                    vram_bytes=GIB + 1,
                    used_bytes=0,
                    reserve_bytes=7,
                    margin_bytes=0,
                    bandwidth_gbs=0.1,
                    sm_count=3,
                ),
            ),
            instances=(
                InstanceEntry(
                    name="one",
                    url="https://a:1",
                    ollama="0.24.0",
                    gpus=(0,),
                    env={"A B": 'x"y', "OLLAMA_X": ""},
                    installed=("qwen3:8b", "hf.co/a/b:Q4_K_M"),
                    loaded=(
                        LoadedEntry(model="qwen3:8b", ctx=1, gpu_bytes=(3,), stays=False),
                        LoadedEntry(model="b"),
                    ),
                ),
                InstanceEntry(name="two", gpus=()),
            ),
        ),
    ),
    deployments=(
        Wanted(
            name="x",
            model="qwen3:8b",
            quant_floor="Q4_K_M",
            quant_wish="Q8_0",
            ctx_floor=1,
            ctx_wish=2,
            parallel=2,
            kv_types=("f16", "q8_0"),
            priority=1,
            prefer="speed",
            residency="on-demand",
            offload_allowed=True,
            replicas=2,
            nodes=("a", "b"),
            pin="a/0",
            keep_apart=("y",),
            min_tokens_per_s=1.5,
            give_way=("offload", "quant"),
            same_name=True,
        ),
        Wanted(name="qwen3:8b", model="qwen3:8b", quant_wish="Q8_0", ctx_wish=3),
    ),
    schedules=(
        ScheduleEntry(
            name="nightly",
            models=("qwen3:8b", "qwen3:4b"),
            nodes=("rog", "a b"),
            cron="30 23 * * 1,2,6",
            until=time(6, 5),
            zone="Europe/Berlin",
            at_once=2,
            updates="take",
            catch_up=True,
            priority=1,
            paused=True,
        ),
        ScheduleEntry(name="first", what="plan", cron="0 2 1 * *"),
        ScheduleEntry(name="play", what="gpus", cron="0 20 * * 1-5", until=time(23)),
        ScheduleEntry(name="new", what="installed", cron="0 4 * * *", updates="ask"),
    ),
)


def test_all_that_can_be_said_reads_back_the_same() -> None:
    assert read(lab_text(ODD)) == ODD


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_real_labs_read_back_the_same(path: Path) -> None:
    entries = read(path.read_text("utf-8"))
    assert read(lab_text(entries)) == entries


def test_an_empty_lab_is_an_empty_file() -> None:
    assert lab_text(LabEntries()) == ""


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (24 * GIB, "24.0"),
        (round(0.6 * GIB), "0.6"),
        (round(15.6 * GIB), "15.6"),
        (1, "1e-09"),
        (0, "0.0"),
    ],
)
def test_sizes_are_short(size_bytes: int, text: str) -> None:
    assert gib(size_bytes) == text


def test_what_is_usual_is_left_out() -> None:
    lab = LabEntries(deployments=(Wanted(name="qwen3:8b", model="qwen3:8b"),))
    assert lab_text(lab) == (
        '[[deployment]]\nmodel = "qwen3:8b"\npriority = 3\nprefer = "quality"\n'
        'residency = "resident"\noffload = "never"\n'
    )
