"""Models in files: whole, split, saved answers, and what is none."""

import json
import os
from pathlib import Path

import pytest

from labdash.planner.errors import PlannerError
from labdash.sources.files import open_file
from tests import gguf_files as made


def test_header_alone_is_opened_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(made.header())
    opened = open_file(path)
    assert opened.model.quant == "Q4_K_M"
    assert opened.warnings == ()
    assert opened.header_bytes is not None


def test_truncated_file_is_opened_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(made.file()[:-5000])
    assert open_file(path).warnings[0].startswith("truncated")
    with pytest.raises(PlannerError, match="truncated"):
        open_file(path, installed=True)


def test_any_part_of_a_split_model_opens_it(tmp_path: Path) -> None:
    facts = {"split.count": 2, "split.tensors.count": len(made.TENSORS)}
    for number, tensors in enumerate((made.TENSORS[:4], made.TENSORS[4:])):
        own = made.TINY if number == 0 else {}
        path = tmp_path / f"tiny-{number + 1:05}-of-00002.gguf"
        path.write_bytes(made.header({**own, **facts, "split.no": number}, tensors))
    assert len(open_file(path).model.tensors) == len(made.TENSORS)
    (tmp_path / "tiny-00001-of-00002.gguf").unlink()
    with pytest.raises(PlannerError):
        open_file(path)


def show(**changes: object) -> dict[str, object]:
    tensors = [
        {"name": name, "shape": list(shape), "type": {0: "F32", 1: "F16", 12: "Q4_K"}[kind]}
        for name, shape, kind in made.TENSORS
    ]
    info = {key: given for key, given in made.TINY.items() if not isinstance(given, list)}
    details = {"quantization_level": "Q4_K_M"}
    return {"model_info": info, "tensors": tensors, "details": details, **changes}


def test_saved_answer_gives_the_same_model_as_the_file(tmp_path: Path) -> None:
    saved, file = tmp_path / "show.json", tmp_path / "tiny.gguf"
    saved.write_text(json.dumps(show()))
    file.write_bytes(made.header())
    ours, theirs = open_file(saved).model, open_file(file).model
    assert ours.tensors == theirs.tensors
    assert ours.shape == theirs.shape
    assert ours.tensor_source == "show"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tensors": None}, "lists no tensors"),
        ({"tensors": [3]}, "damaged"),
        ({"tensors": [{"name": "a", "type": "F16", "shape": []}]}, "damaged"),
        ({"tensors": [{"name": "a", "type": "F99", "shape": [3]}]}, "not known"),
        ({"tensors": [{"name": "a", "type": "Q4_K", "shape": [3]}]}, "multiple"),
        ({"model_info": {}}, "no answer of /api/show"),
    ],
)
def test_saved_answer_that_lacks_something_is_refused(
    changes: dict[str, object], text: str, tmp_path: Path
) -> None:
    path = tmp_path / "show.json"
    path.write_text(json.dumps(show(**changes)))
    with pytest.raises(PlannerError, match=text):
        open_file(path)


@pytest.mark.parametrize(
    ("content", "text"), [(b"{", "no JSON"), (b"", "empty"), (b"hello there", "text")]
)
def test_other_files_are_refused(content: bytes, text: str, tmp_path: Path) -> None:
    path = tmp_path / "thing"
    path.write_bytes(content)
    with pytest.raises(PlannerError, match=text):
        open_file(path)


def test_what_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlannerError, match="there is no file"):
        open_file(tmp_path / "none.gguf")
    with pytest.raises(PlannerError, match="a folder"):
        open_file(tmp_path)


@pytest.mark.parametrize("key", ["llama.attention.head_count_kv", "llama.feed_forward_length"])
@pytest.mark.parametrize("left_out", [None, []])
def test_saved_answer_without_lists_of_layers_asks_for_them(
    tmp_path: Path, key: str, left_out: object
) -> None:
    document = show()
    info = document["model_info"]
    assert isinstance(info, dict)
    info[key] = left_out
    info["tokenizer.ggml.tokens"] = None
    info["llama.rope.scaling.factors"] = None
    path = tmp_path / "show.json"
    path.write_text(json.dumps(document))
    with pytest.raises(PlannerError, match=f'{key}: ask for it with "verbose": true'):
        open_file(path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[" * 100_000, "nests too deeply|no GGUF file"),
        ('{"model_info":' + "[" * 100_000, "nests too deeply"),
        ('{"error": "model not found"}', "error of Ollama: model not found"),
    ],
    ids=["list", "object", "error"],
)
def test_text_that_is_no_answer_gets_one_line(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "show.json"
    path.write_text(text)
    with pytest.raises(PlannerError, match=line):
        open_file(path)


def test_tensor_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    document = show()
    tensors = document["tensors"]
    assert isinstance(tensors, list)
    path = tmp_path / "show.json"
    path.write_text(json.dumps({**document, "tensors": [*tensors, tensors[0]]}))
    with pytest.raises(PlannerError, match="twice"):
        open_file(path)


@pytest.mark.parametrize("before", ["\ufeff", "\n\n  "], ids=["mark", "blanks"])
def test_saved_answer_may_begin_with_what_editors_add(tmp_path: Path, before: str) -> None:
    path = tmp_path / "show.json"
    path.write_text(before + json.dumps(show()), encoding="utf-8")
    assert open_file(path).model.tensor_source == "show"


@pytest.mark.parametrize("name", ["x-00001-of-00000", "x-00000-of-00002", "x-00003-of-00002"])
def test_file_that_is_named_like_an_impossible_part_is_opened(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.gguf"
    path.write_bytes(made.header())
    assert open_file(path).model.quant == "Q4_K_M"


def test_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    os.mkfifo(path)
    with pytest.raises(PlannerError, match="is no file"):
        open_file(path)


def test_few_missing_bytes_are_told_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    whole = made.file()
    path.write_bytes(whole[:-3])
    assert open_file(path).warnings == (f"truncated: {len(whole) - 3} of {len(whole)} bytes",)


def test_block_whose_number_has_thousands_of_digits_is_no_block(tmp_path: Path) -> None:
    document = show()
    tensors = document["tensors"]
    assert isinstance(tensors, list)
    strange = {"name": f"blk.{'9' * 5000}.attn_q.weight", "shape": [256], "type": "F32"}
    path = tmp_path / "show.json"
    path.write_text(json.dumps({**document, "tensors": [*tensors, strange]}))
    assert strange["name"] in open_file(path).model.table.ends
