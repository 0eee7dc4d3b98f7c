"""Runners of Ollama among real processes, which only play them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.processes import eventually
from workers.gpus.processes import BlobNames, describe

DIGEST = "0123456789abcdef" * 4
BLOB = f"/models/blobs/sha256-{DIGEST}"
WAIT_S = 20
# Starts a child by the command line that follows, and stays with it or leaves it behind.
SERVER = """\
import os, subprocess, sys, time
child = subprocess.Popen(sys.argv[3:])
print(child.pid, flush=True)
if sys.argv[2] == "leave":
    os._exit(0)
time.sleep(600)
"""
RUNNER = "import time; time.sleep(600)"


@dataclass(frozen=True)
class Started:
    """A server and its runner, by number."""

    server: int
    runner: int


type Start = Callable[..., Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return what starts programs of these names."""
    processes: list[subprocess.Popen[str]] = []
    runners: list[int] = []

    def program(name: str) -> str:
        path = tmp_path / name
        if not path.exists():
            path.symlink_to(Path(sys.executable).resolve())
        return str(path)

    def start(
        *arguments: str, runner: str = "llama-server", server: str = "ollama", does: str = "stay"
    ) -> Started:
        child = [program(runner), "-c", RUNNER, *arguments]
        command = [program(server), "-c", SERVER, "serve", does, *child]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
        processes.append(process)
        assert process.stdout
        runners.append(int(process.stdout.readline()))
        # A process has no command line yet in the moment in which its program begins.
        assert eventually(lambda: bool(psutil.Process(runners[-1]).cmdline()))
        if does == "leave":
            process.wait(WAIT_S)
        return Started(process.pid, runners[-1])

    yield start
    for pid in runners:
        os.kill(pid, signal.SIGKILL)
    for process in processes:
        process.kill()
        process.communicate()


def names(**servers: int) -> BlobNames:
    """Return what is known of instances; both have the blob under a name of their own."""
    known = BlobNames()
    for instance in ("one", "two"):
        known.set_installed(instance, {f"model-of-{instance}": DIGEST})
        known.set_server(instance, servers.get(instance))
    return known


@pytest.mark.parametrize(
    ("runner", "arguments"),
    [
        ("llama-server", ["--model", BLOB, "--mmproj", "/models/blobs/sha256-" + "f" * 64]),
        ("llama-server", ["--model-draft", "/models/blobs/sha256-" + "f" * 64, "-m", BLOB]),
        ("ollama", ["runner", "--ollama-engine", "--model", BLOB]),
    ],
)
def test_runner_is_told_with_its_model_and_instance(
    start: Start, runner: str, arguments: list[str]
) -> None:
    started = start(*arguments, "--ctx-size", "16384", "--parallel", "2", runner=runner)
    told = describe(started.runner, 9, names(two=started.server))
    assert (told.model, told.instance, told.is_orphan) == ("model-of-two", "two", False)
    assert (told.name, told.context_tokens, told.slots) == (runner, 16384, 2)


def test_runner_of_a_model_that_nobody_has_is_named_by_its_digest(start: Start) -> None:
    started = start("--model", BLOB)
    assert describe(started.runner, 9, BlobNames()).model == DIGEST[:12]


def test_runner_whose_server_is_gone_is_an_orphan(start: Start) -> None:
    started = start("--model", BLOB, does="leave")
    told = describe(started.runner, 9, names())
    assert (told.is_orphan, told.instance) == (True, None)


def test_runner_that_somebody_started_by_hand_is_no_orphan(start: Start) -> None:
    started = start("--model", BLOB, server="bash")
    told = describe(started.runner, 9, names())
    assert (told.is_orphan, told.instance) == (False, None)


def test_other_programs_have_neither(start: Start) -> None:
    started = start("--model", "/home/me/other.gguf")
    told = describe(started.runner, 9, names(one=started.server))
    assert (told.name, told.model, told.instance) == ("llama-server", None, None)
