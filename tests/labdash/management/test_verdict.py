"""``manage.py verdict``."""

import json

import pytest
from django.core.management import CommandError, call_command

from tests.factories import gpu, make_node, seen

pytestmark = pytest.mark.django_db


def lab() -> None:
    """Store two machines that report, one with a card of 24 GiB and one with 8."""
    for slug, gib in (("rog", 24), ("tower", 8)):
        make_node(slug)
        seen(slug, gpus=(gpu(memory_total_bytes=gib * 2**30, memory_used_bytes=0),))


def test_it_tells_every_server_and_the_best_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    lab()
    call_command("verdict", "qwen3:8b", ctx="16k")
    first, rog, tower = capsys.readouterr().out.splitlines()
    assert first == "qwen3:8b Q4_K_M, 16384 tokens of context a slot"
    assert rog.startswith("  rog: fits whole up to 40960 tokens, ")
    assert "tokens/s; 4.9 GiB from the internet; 395 GiB will be left on rog; best" in rog
    assert rog.endswith("best Q8_0 (qwen3:8b-q8_0)")
    assert " of 37 layers on GPUs, " in tower


def test_json_is_one_object_and_the_exit_tells_what_fits_nowhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lab()
    with pytest.raises(SystemExit) as ended:
        call_command("verdict", "qwen3:32b", ctx="32k", json=True)
    assert ended.value.code == 1
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    named = next(row for row in told["quants"] if row["named"])
    assert (told["quant"], named["name"]) == ("Q4_K_M", "qwen3:32b")
    assert [each["verdict"] for each in named["servers"]] == ["part", "part"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("qwen3:8b", "--ctx", "x"), "is no context: write tokens as 8192 or 8k"),
        (("http://x/y",), "Leave out what ends with ://"),
        (("somebody/thing",), "its header is read from where it is published with --look"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], line: str) -> None:
    with pytest.raises(CommandError, match=line.replace("?", r"\?")):
        call_command("verdict", *arguments)
