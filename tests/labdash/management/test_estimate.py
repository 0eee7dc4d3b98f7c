"""``manage.py estimate``."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests import gguf_files as made

GIB = 2**30


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(made.header())
    return str(path)


def estimated(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    call_command("estimate", *args, "--json")
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_answer_has_an_entry_a_gpu_and_sums_the_host(
    tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = estimated(capsys, tiny, "--gpus", "24GiB,12GiB", "--ctx", "4k")
    assert [device["name"] for device in answer["devices"]] == ["GPU0", "GPU1"]
    assert [device["short_bytes"] for device in answer["devices"]] == [0, 0]
    assert sum(device["kv_bytes"] for device in answer["devices"]) == 4096 * 2 * 128 * 2
    assert set(answer["host"]) == {"weights_bytes", "kv_bytes", "compute_bytes", "output_bytes"}
    assert answer["fits"] is True
    assert answer["basis"]["weights"] == "exact"


def test_without_sizes_nothing_is_said_to_fit(
    tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = estimated(capsys, tiny, "--gpus", "2")
    assert answer["fits"] is None
    assert [device["short_bytes"] for device in answer["devices"]] == [None, None]


def test_what_does_not_fit_ends_with_one(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call_command("estimate", tiny, "--gpus", "100MiB")
    assert ended.value.code == 1
    assert "does not fit" in capsys.readouterr().out


def test_catalog_model_is_reckoned_by_rules(capsys: pytest.CaptureFixture[str]) -> None:
    answer = estimated(capsys, "qwen3:14b", "--quant", "Q4_K_M", "--gpus", "RTX 3060")
    assert answer["basis"]["weights"] == "rules"
    assert answer["basis"]["overhead"] == "table"
    assert 7.9 * GIB < answer["devices"][0]["weights_bytes"] < 9 * GIB


def test_fit_says_what_it_chose(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer = estimated(capsys, tiny, "--fit", "--gpus", "24GiB")
    assert answer["ctx"] == 4096
    assert answer["gpu_layers"] == -1
    assert answer["experts_on_cpu"] == []


def test_gpu_that_holds_nothing_is_short_of_nothing(
    tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = estimated(capsys, tiny, "--fit", "--gpus", "24GiB,100MiB")
    assert [device["short_bytes"] for device in answer["devices"]] == [0, 0]
    assert answer["fits"] is True


BAD = [
    ([], "name a model"),
    (["qwen99:3b"], "nearest known"),
    (["qwen3:14b", "--quant", "Q99"], "no quant"),
    (["TINY", "--ctx", "-5"], "cannot be negative"),
    (["TINY", "--ctx", "abc"], "ctx"),
    (["TINY", "--gpu-layers", "-3"], "cannot be negative"),
    (["TINY", "--gpu-layers", "many"], "gpu_layers"),
    (["TINY", "--kv-type", "q9"], "KV type q9 is unknown"),
    (["TINY", "--kv-type", "f16,q8_0", "--flash-attn", "off"], "needs flash attention"),
    (["TINY", "--parallel", "0"], "at least one slot"),
    (["TINY", "--engine", "foo"], "no engine"),
    (["TINY", "--gpus", "banana"], "no size"),
    (["TINY", "--gpus", "9999"], "more than"),
    (["TINY", "--tensor-split", "a,b"], "shares"),
    (["TINY", "--cpu-override", "(("], "pattern"),
    (["nothing.gguf"], "there is no file"),
    (["--batch", "nothing.jsonl"], "cannot read"),
    (["TINY", "--batch", "-"], "not both"),
    (["TINY", "--ctx", "²k"], "ctx"),
    (["TINY", "--ctx", "9" * 5000], "ctx"),
    (["TINY", "--ctx", "9" * 5000 + "k"], "ctx"),
    (["TINY", "--gpus", "9" * 5000], "more than"),
    (["TINY", "--ctx", "9" * 30], "at most"),
    (["TINY", "--parallel", "1000000000"], "at most 256 slots"),
    (["TINY", "--batch-size", "99999999999"], "a batch holds at most"),
    (["TINY", "--outputs", "-1"], "cannot be negative"),
    (["TINY", "--gpus", "²"], "no size"),
    (["TINY", "--gpus", "infGiB"], "no size of memory"),
    (["TINY", "--gpus", "nanGiB"], "no size of memory"),
    (["TINY", "--gpus", "2", "--tensor-split", "nan,1"], "must be positive numbers"),
    (["TINY", "--gpus", "2", "--tensor-split", "inf,1"], "must be positive numbers"),
    (["TINY", "--fit", "--margin-mib", "-1"], "no size of memory"),
    (["TINY", "--lora", "TINY"], "is no adapter"),
    (["x" * 5000], "the catalog has no|nearest known"),
    (["x" * 5000 + ".gguf"], "cannot read|no file"),
]


@pytest.mark.parametrize(("args", "text"), BAD, ids=lambda value: str(value)[:40])
def test_bad_input_gets_one_line_and_ends_with_two(args: list[str], text: str, tiny: str) -> None:
    with pytest.raises(CommandError, match=text) as refused:
        call_command("estimate", *[tiny if each == "TINY" else each for each in args])
    assert refused.value.returncode == 2
    assert "\n" not in str(refused.value)


def test_every_line_of_a_batch_is_answered_in_order(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        json.dumps({"source": tiny, "ctx": 2048, "type_k": "q8_0", "type_v": "q8_0"}),
        json.dumps({"source": tiny, "kontext": 1}),
        "no JSON",
        "[]",
        json.dumps({"source": tiny, "type_v": "q8_0", "flash_attn": False}),
        json.dumps({"source": tiny, "gpu_free_mib": [24576, 12288], "tensor_split": "3,1"}),
        json.dumps({"source": tiny, "ctx": None, "gpu_layers": "all", "cpu_override": None}),
        f'{{"source": "{tiny}", "gpu_free_mib": [Infinity]}}',
        json.dumps({"source": tiny, "gpu_free_mib": [1e308]}),
        json.dumps({"source": "x" * 5000}),
        "[" * 50_000,
    ]
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(lines) + "\n\n" + "x" * 100_000)
    call_command("estimate", "--batch", str(path))
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["error" in answer for answer in answers] == [
        False, True, True, True, True, False, False, True, True, True, True, True,
    ]  # fmt: skip
    assert "kontext is no key" in answers[1]["error"]
    assert len(answers[5]["devices"]) == 2
