"""What an answer may hold, and which names an order to ask may bear."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.strange import VALUES
from workers.wire import (
    TryBegan,
    TryEnd,
    TryGpu,
    TryLine,
    TryOrder,
    TryPlace,
    TryText,
    try_line_adapter,
)
from workers.wire.base import InstalledName

NAMES: TypeAdapter[str] = TypeAdapter(InstalledName)
# What makes no sense in these makes none of the line.
NEEDED = {"text", "thinking", "outcome", "is_empty"}
PLACE = TryPlace(
    size_bytes=2,
    size_vram_bytes=1,
    context_length=8192,
    gpus=(TryGpu(index=0, name="RTX 3090", used_bytes=3), TryGpu(index=1)),
)
FULL = [
    TryBegan(was_loaded=True),
    TryText(text="Because of the air.\nIt scatters.", thinking=True),
    TryEnd(
        outcome="answered",
        reason="why",
        is_empty=True,
        was_loaded=True,
        first_token_s=0.5,
        load_s=0.1,
        prompt_tokens=12,
        prompt_s=0.1,
        answer_tokens=40,
        answer_s=0.5,
        place=PLACE,
    ),
]


@pytest.mark.parametrize("name", ["qwen3", "qwen3:8b", "nas.lan:5000/library/qwen3:8b", "_a/_b:_c"])
def test_a_name_from_any_registry_may_be_asked(name: str) -> None:
    assert NAMES.validate_python(name) == name


@pytest.mark.parametrize("name", ["", "-x", "a b", "a\n", "a'b", "$(id)", "a;b", "x" * 351])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        NAMES.validate_python(name)


@pytest.mark.parametrize("try_id", ["", "a" * 31, "A" * 32, "a" * 32 + "\n", "../" + "a" * 29, "*"])
def test_an_order_has_an_id_that_nobody_guesses_and_no_other(try_id: str) -> None:
    fields = {"node": "rog", "instance_url": "http://127.0.0.1:11434", "model": "qwen3:8b"}
    with pytest.raises(ValidationError):
        TryOrder.model_validate({**fields, "try_id": try_id})


def test_lines_of_a_text_stay_and_what_no_page_can_show_goes() -> None:
    said = TryText(text="a\n\tb\r\x00\x1b[31m\u2028\ud800c" + "x" * 5000)
    assert said.text.startswith("a\n\tb   [31m  c")
    assert len(said.text) == 1000


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("line", FULL, ids=lambda line: line.kind)
def test_what_is_strange_is_refused_or_made_harmless(line: TryLine, value: str) -> None:
    for field in line.model_dump().keys() - {"kind"}:
        fields = line.model_dump(mode="json") | {field: "here"}
        try:
            read = try_line_adapter.validate_json(json.dumps(fields).replace('"here"', value))
        except ValidationError:
            assert field in NEEDED or value == VALUES["half a pair"]
            continue
        _is_bounded(json.loads(read.model_dump_json()))


def _is_bounded(value: Any) -> None:
    """Check that no text is long, and no number beyond what 64 bits hold."""
    if isinstance(value, dict):
        for inner in value.values():
            _is_bounded(inner)
    elif isinstance(value, list):
        for inner in value:
            _is_bounded(inner)
    elif isinstance(value, str):
        assert len(value) <= 1000
        assert "\x00" not in value
    elif value is not None:
        assert 0 <= value < 2**63
