from typing import Any

import pytest
from pydantic import ValidationError

from workers.wire import ApplyProgress, CreateOrder, DeleteOrder, Parameters, is_alias

ALIAS = "labdash/qwen3-32b"


def create(**fields: Any) -> CreateOrder:
    values = {
        "node": "rog",
        "job_id": 1,
        "instance_url": "http://127.0.0.1:11434",
        "model": ALIAS,
        "base": "qwen3:32b",
        "parameters": {"num_ctx": 8192},
        "deadline_s": 60,
    }
    return CreateOrder.model_validate(values | fields)


def delete(model: str) -> DeleteOrder:
    url = "http://127.0.0.1:11434"
    values = {"node": "rog", "job_id": 1, "instance_url": url, "model": model, "deadline_s": 60}
    return DeleteOrder.model_validate(values)


def test_alias_or_the_base_itself_is_made() -> None:
    assert create().model == ALIAS
    assert create(model="qwen3:32b").model == "qwen3:32b"


@pytest.mark.parametrize("name", ["qwen3:8b", "someone/chat", "labdash", "labdash/", "hf.co/a/b"])
def test_name_of_others_is_not_made(name: str) -> None:
    with pytest.raises(ValidationError, match="only names under labdash/"):
        create(model=name)


@pytest.mark.parametrize(
    "name",
    [
        "qwen3:32b",
        "labdash/",
        "labdash/A",
        "labdash/a/b",
        "labdash/../x",
        "labdash/.x",
        "labdash/a:8b",
        "labdash/a\n",
        "labdash/a b",
        "x/labdash/a",
        "hf.co/labdash/a",
        "labdash/" + "a" * 81,
    ],
)
def test_only_aliases_are_deleted(name: str) -> None:
    assert not is_alias(name)
    with pytest.raises(ValidationError):
        delete(name)


@pytest.mark.parametrize("name", [ALIAS, f"{ALIAS}:latest", "labdash/a", "labdash/chat.v2_b-1"])
def test_alias_is_one_with_and_without_its_tag(name: str) -> None:
    assert is_alias(name)
    assert delete(name).model == name


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_ctx": "8192"},
        {"num_ctx": 8192.0},
        {"num_ctx": True},
        {"num_ctx": 0},
        {"num_ctx": 2**24 + 1},
        {"num_gpu": -1},
        {"main_gpu": 64},
        {"num_batch": 2**17},
    ],
)
def test_options_are_whole_numbers_in_their_ranges(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Parameters.model_validate(wrong)


def test_option_that_this_side_does_not_know_is_left_out() -> None:
    assert create(parameters={"num_ctx": 1, "num_thread": 4}).parameters == Parameters(num_ctx=1)


def test_long_words_of_a_server_are_cut() -> None:
    report = ApplyProgress.model_validate(
        {
            "node": "rog",
            "sent_at": "2026-11-25T20:00:00Z",
            "job_id": 1,
            "step": "create",
            "phase": "failed",
            "reason": "x" * 5000,
            "meaning": "a\x00b",
        }
    )
    assert (len(report.reason or ""), report.meaning) == (1000, "a b")
