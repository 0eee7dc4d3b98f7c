"""What a server was started with, read from a real process."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from workers.engines.settings import read_settings


@contextmanager
def running(**environment: str) -> Iterator[psutil.Process]:
    command = [sys.executable, "-c", "print(flush=True); import time; time.sleep(600)"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:  # noqa: S603 - ours
        assert process.stdout
        process.stdout.readline()
        yield psutil.Process(process.pid)
        process.kill()


def test_only_what_steers_ollama_is_told() -> None:
    told = {
        "OLLAMA_KV_CACHE_TYPE": "q8_0",
        "LLAMA_ARG_FIT": "off",
        "CUDA_VISIBLE_DEVICES": "GPU-1",
        "GGML_VK_VISIBLE_DEVICES": "0",
    }
    other = {"HOME": "/root", "HTTPS_PROXY": "http://me:secret@proxy", "AWS_SECRET": "x"}
    with running(**told, **other) as process:
        found = read_settings(process)
    assert found is not None
    assert {each.name: each.value for each in found} == told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OLLAMA_API_KEY", "abc"),
        ("OLLAMA_AUTH", "abc"),
        ("LLAMA_ARG_HF_TOKEN", "hf_abcdefghijk"),
        ("OLLAMA_REGISTRY", "https://me:secret@registry.lan"),
    ],
)
def test_no_secret_is_told(name: str, value: str) -> None:
    with running(**{name: value}) as process:
        found = read_settings(process)
    assert found is not None
    assert [each.name for each in found] == [name]
    assert "abc" not in found[0].value
    assert "secret" not in found[0].value


def test_process_that_is_gone_tells_nothing() -> None:
    with running(OLLAMA_DEBUG="1") as process:
        pass
    assert read_settings(process) is None
