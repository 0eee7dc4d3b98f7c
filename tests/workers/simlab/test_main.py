"""The simulated lab as a process: it starts, lives, ends cleanly and remembers."""

import argparse
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.workers.simlab.running import running_lab
from workers.simlab import __main__ as main
from workers.simlab import ctl

LOAD_TIMEOUT_S = 30


def test_the_lab_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    with running_lab(tmp_path) as lab:
        assert lab.end() == 0


def test_a_model_of_the_plan_is_loaded_at_start(tmp_path: Path) -> None:
    with running_lab(tmp_path) as lab:
        url = f"{lab.ollama_url('minibox')}/api/ps"
        deadline = time.monotonic() + LOAD_TIMEOUT_S
        while not (loaded := httpx.get(url, trust_env=False).json()["models"]):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert [(each["name"], each["size_vram"]) for each in loaded] == [("llama3.2:1b", 0)]


def test_a_second_run_keeps_ports_and_what_is_installed(tmp_path: Path) -> None:
    with running_lab(tmp_path, "--no-life") as lab:
        first, url = lab.described, lab.ollama_url("minibox")
        body = {"model": "qwen3:0.6b"}
        assert httpx.request("DELETE", f"{url}/api/delete", json=body, trust_env=False).is_success
        lab.end()
    with running_lab(tmp_path, "--no-life") as lab:
        urls = [machine["ollama_urls"] for machine in lab.described["machines"]]
        assert urls == [machine["ollama_urls"] for machine in first["machines"]]
        models = httpx.get(f"{url}/api/tags", trust_env=False).json()["models"]
        assert [each["name"] for each in models] == ["llama3.2:1b"]


def test_a_lab_that_was_killed_listens_where_it_did(tmp_path: Path) -> None:
    with running_lab(tmp_path, "--no-life", "--control-port", "0") as lab:
        first = lab.described
        lab.process.kill()
        lab.process.wait()
    with running_lab(tmp_path, "--no-life", "--control-port", "0") as lab:
        assert lab.described == first


def test_a_kept_control_port_that_is_taken_is_given_up_for_another(tmp_path: Path) -> None:
    with running_lab(tmp_path, "--no-life") as lab:
        port = int(lab.control_url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)), running_lab(tmp_path, "--no-life") as lab:
        assert not lab.control_url.endswith(f":{port}")
        assert httpx.get(f"{lab.control_url}/lab", trust_env=False).is_success


def test_a_control_port_that_is_taken_ends_the_start_with_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        command = [sys.executable, "-m", "workers.simlab", "--state-dir", str(tmp_path)]
        ended = subprocess.run(  # noqa: S603 - our own module
            [*command, "--control-port", str(port)], capture_output=True, timeout=30, check=False
        )
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"the control API cannot listen: ")
    assert ended.stderr.count(b"\n") == 1


def test_a_speed_below_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["--state-dir", str(tmp_path), "--registry-speed", "-1"])
    assert caught.value.code == 2


@pytest.mark.parametrize("parser", [main.parser(), ctl.parser()], ids=["lab", "ctl"])
def test_help_shows_how_to_lose_a_gpu(parser: argparse.ArgumentParser) -> None:
    assert "lose rog 0" in parser.format_help()
