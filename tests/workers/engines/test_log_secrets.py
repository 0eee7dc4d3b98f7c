"""What never leaves a machine with the lines of a log."""

import time

import pytest

from workers.engines.log_secrets import LONGEST_LINE, without_secrets


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer SECRETVALUE1",
        'headers="map[Authorization:[Bearer SECRETVALUE1]]"',
        "authorization=Basic SECRETVALUE1==",
        "OLLAMA_API_KEY=SECRETVALUE1",
        "HF_TOKEN:SECRETVALUE1",
        '{"access_token": "SECRETVALUE1"}',
        "HTTPS_PROXY:http://user:SECRETVALUE1@proxy:3128 OLLAMA_HOST:x",
        "password = SECRETVALUE1",
        "GET /x?api_key=SECRETVALUE1&a=b",
        "key hf_SECRETVALUE1abc",
        "key sk-proj-SECRETVALUE1abc",
        "cookie: SECRETVALUE1",
        "set-cookie: a=b; sid=SECRETVALUE1",
        'token="SECRETVALUE0 SECRETVALUE1"',
        "https://u:SECRET/SECRETVALUE1@h/x",
        "HTTP://u:SECRETVALUE1@h/x",
        "https://h/?key=SECRETVALUE1",
        "password='a SECRETVALUE1'",
        "client_secret=SECRETVALUE1",
        "at /home/SECRETVALUE1/.ollama/models",
        r"at C:\Users\SECRETVALUE1\.ollama",
    ],
)
def test_secret_is_removed_and_the_line_stays(line: str) -> None:
    (shown,) = without_secrets([line], most=40)
    assert "SECRETVALUE1" not in shown
    assert "[removed]" in shown or "[user]" in shown


@pytest.mark.parametrize("line", ["password=12345678", "PASSWORD: 4711 x", "api_key=1"])
def test_password_of_digits_is_one_too(line: str) -> None:
    (shown,) = without_secrets([line], most=40)
    assert "[removed]" in shown
    assert not any(letter.isdigit() for letter in shown)


@pytest.mark.parametrize(
    "line",
    [
        'time=2026 level=DEBUG source=routes.go msg="chat request" prompt="my diary"',
        'level=TRACE msg="my diary"',
        'level=INFO msg=x prompt="my diary"',
        "[GIN] 2026/11/25 | 200 | 1ms | 127.0.0.1 | GET /api/ps",
    ],
)
def test_line_that_may_hold_a_prompt_or_only_a_request_is_left_out(line: str) -> None:
    assert without_secrets([line, "kept"], most=40) == ("kept",)


@pytest.mark.parametrize(
    "line",
    [
        "load_tensors: offloaded 33/33 layers to GPU",
        "print_info: EOS token = 151645",
        "ggml_cuda_init: found 2 CUDA devices",
        "cudaMalloc failed: out of memory",
    ],
)
def test_line_without_a_secret_stays_as_it_is(line: str) -> None:
    assert without_secrets([line], most=40) == (line,)


def test_place_of_a_copy_is_told_without_its_secret() -> None:
    line = 'Get "http://10.0.0.5:11480/v2/{}/qwen3/manifests/8b": connection refused'
    assert without_secrets([line.format("5" * 32)], most=1) == (line.format("[removed]"),)


def test_lines_are_the_last_and_cut() -> None:
    shown = without_secrets([*map(str, range(50)), "x" * 9999], most=40)
    assert len(shown) == 40
    assert (shown[0], len(shown[-1])) == ("11", LONGEST_LINE)


def test_longest_lines_cost_little() -> None:
    began = time.process_time()
    without_secrets(["a_" * 60_000, "token" * 20_000, "://" * 30_000] * 10, most=40)
    assert time.process_time() - began < 5
