import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from workers.engines import place
from workers.engines.place import (
    Elsewhere,
    Here,
    Named,
    Simulated,
    choose_place,
    disk_under,
    server_pid,
)
from workers.gpus.base import HardwareReading
from workers.wire import DiskReading, DriverReading, HostReading

LISTEN = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
time.sleep(60)
"""


@contextmanager
def program(
    folder: Path, name: str, *arguments: str, **environment: str
) -> Iterator[tuple[int, int]]:
    """Run a program of this name that listens on a port; yields its process and its port."""
    binary = folder / name
    if not binary.exists():
        shutil.copy(os.path.realpath(sys.executable), binary)
    env = {"PATH": os.environ["PATH"], "PYTHONHOME": sys.base_prefix, **environment}
    command = [str(binary), "-c", LISTEN, *arguments]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - a copy of this Python
        assert process.stdout
        yield process.pid, int(process.stdout.readline())
        process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def skip_beside_a_real_server() -> None:
    if any(process.name() == "ollama" for process in psutil.process_iter()):
        pytest.skip("an Ollama server runs on this machine")


def test_a_server_of_this_machine_runs_as_a_process_with_its_own_store(tmp_path: Path) -> None:
    store = tmp_path / "models"
    with program(tmp_path, "ollama", OLLAMA_MODELS=str(store)) as (_, port):
        here = Here(f"http://127.0.0.1:{port}")
        surroundings, disk = here.look(), here.disk(None)

    assert (surroundings.home, surroundings.store) == ("process", store)
    assert disk
    assert (disk.path, disk.total_bytes) == (str(store), shutil.disk_usage(tmp_path).total)


def test_a_server_whose_settings_cannot_be_read_has_the_store_that_it_names(
    tmp_path: Path,
) -> None:
    named = tmp_path / "named"
    named.mkdir()
    # Without OLLAMA_MODELS and HOME its settings tell as little as those of another user.
    with program(tmp_path, "ollama") as (_, port):
        here = Here(f"http://127.0.0.1:{port}")
        unknown, known = here.disk(None), here.disk(str(named))
        elsewhere = here.disk(str(tmp_path / "in-a-container"))

    assert (unknown, elsewhere) == (None, None)
    assert known
    assert known.path == str(named)


def test_the_store_of_another_server_here_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    with (
        program(tmp_path, "ollama", OLLAMA_MODELS=str(tmp_path)),
        program(tmp_path, "ollama") as (_, port),
    ):
        disk = Here(f"http://127.0.0.1:{port}").disk(None)

    assert disk is None


def test_a_server_that_was_stopped_keeps_the_store_that_it_named(tmp_path: Path) -> None:
    disk = Here(f"http://127.0.0.1:{free_port()}").disk(str(tmp_path))

    assert disk
    assert disk.path == str(tmp_path)


def test_of_two_servers_here_each_has_its_own_store(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with (
        program(tmp_path, "ollama", OLLAMA_MODELS=str(first)) as (_, first_port),
        program(tmp_path, "ollama", OLLAMA_MODELS=str(second)) as (_, second_port),
    ):
        stores = [
            Here(f"http://127.0.0.1:{port}").look().store for port in (first_port, second_port)
        ]

    assert stores == [first, second]


def test_server_is_told_from_its_runner_where_only_root_may_see_whose_the_port_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with (
        program(tmp_path, "ollama", "serve") as (server, _),
        program(tmp_path, "ollama", "runner") as (runner, _),
        program(tmp_path, "ollama", "serve") as (another, _),
    ):
        here: list[int] = [server, runner]
        monkeypatch.setattr(
            place, "_ollama_processes", lambda: [psutil.Process(pid) for pid in here]
        )
        assert server_pid(url) == server
        here.append(another)
        assert server_pid(url) is None


def test_without_a_setting_the_store_lies_in_the_servers_home(tmp_path: Path) -> None:
    with program(tmp_path, "ollama", HOME=str(tmp_path)) as (_, port):
        surroundings = Here(f"http://127.0.0.1:{port}").look()

    assert surroundings.store == tmp_path / ".ollama/models"


def test_a_port_that_is_held_for_a_container_is_a_containers(tmp_path: Path) -> None:
    with program(tmp_path, "docker-proxy") as (_, port):
        here = Here(f"http://127.0.0.1:{port}")
        surroundings, disk = here.look(), here.disk(None)

    assert (surroundings.home, surroundings.store, disk) == ("container", None, None)


def test_a_port_of_nobody_that_is_to_be_seen_is_a_containers() -> None:
    skip_beside_a_real_server()

    assert Here(f"http://127.0.0.1:{free_port()}").look().home == "container"


def test_a_port_on_which_nobody_listens_leaves_the_disk_of_the_store_to_come() -> None:
    skip_beside_a_real_server()

    disk = Here(f"http://127.0.0.1:{free_port()}").disk(None)

    assert disk
    assert disk.path.endswith("models")
    assert 0 < disk.free_bytes <= disk.total_bytes


def test_what_was_seen_holds_for_some_seconds(tmp_path: Path) -> None:
    with program(tmp_path, "docker-proxy") as (_, port):
        here = Here(f"http://127.0.0.1:{port}")
        first = here.look()

    assert here.look() is first


def test_a_process_in_another_control_group_may_be_a_containers() -> None:
    marks = ["0::/system.slice/docker-0123.scope", "0::/machine.slice/libpod-1.scope"]
    plain = ["0::/system.slice/ollama.service", "0::/user.slice/user-1000.slice"]

    assert [place.is_container_group(group, own="0::/init.scope") for group in marks] == [True] * 2
    assert [place.is_container_group(group, own="0::/") for group in plain] == [False] * 2


def test_a_worker_in_a_container_takes_its_own_group_for_the_machine() -> None:
    group = "0::/system.slice/docker-0123.scope"

    assert place.is_container_group(group, own=group) is False


def test_the_disk_of_a_store_not_yet_made_is_that_of_its_parent(tmp_path: Path) -> None:
    disk = disk_under(tmp_path / "not/yet/made")

    assert disk
    assert disk.path == str(tmp_path / "not/yet/made")
    assert disk.total_bytes == shutil.disk_usage(tmp_path).total


def test_addresses_of_this_machine_are_told_from_others() -> None:
    own = ["127.0.0.1", "localhost", "::1"]
    others = ["192.0.2.1"]

    assert [place.is_own_address(host) for host in own] == [True] * 3
    assert [place.is_own_address(host) for host in others] == [False]
    assert place.is_own_address("nobody.invalid") is None


class Machine:
    def read(self) -> HardwareReading:
        disk = DiskReading(path="/models", total_bytes=10, free_bytes=3)
        driver = DriverReading(state="ok")
        return HardwareReading(driver=driver, gpus=(), host=HostReading(), disk=disk)


def test_a_place_is_chosen_by_what_the_node_is() -> None:
    own = "http://127.0.0.1:11434"
    chosen = [
        choose_place(own, is_agentless=False, simulation=None),
        choose_place(own, is_agentless=True, simulation=None),
        choose_place("http://192.0.2.1:11434", is_agentless=False, simulation=None),
        choose_place(own, is_agentless=False, simulation=Machine()),
    ]

    assert [type(entry) for entry in chosen] == [Named, Elsewhere, Named, Simulated]
    assert [entry.look().home for entry in chosen[1:]] == ["remote", "remote", "process"]


def test_a_name_that_is_not_found_is_neither_here_nor_on_another_machine() -> None:
    unknown = Named("http://nobody.invalid:11434")

    assert (unknown.look().home, unknown.disk(None)) == (None, None)


def test_another_machine_tells_nothing_of_its_disk() -> None:
    elsewhere = Elsewhere()

    assert (elsewhere.look().home, elsewhere.look().installed) == ("remote", None)
    assert elsewhere.disk(None) is None


def test_a_simulated_machine_has_a_simulated_disk() -> None:
    simulated = Simulated(Machine(), "http://127.0.0.1:9")

    assert (simulated.look().home, simulated.look().installed) == ("process", True)
    disk = simulated.disk(None)
    assert disk
    assert disk.free_bytes == 3


@pytest.mark.parametrize(
    ("hosts", "who"),
    [
        (["127.0.0.1"], "loopback"),
        (["::1"], "loopback"),
        (["127.0.0.1", "::1"], "loopback"),
        (["0.0.0.0"], "network"),  # noqa: S104 - that is what is asked about
        (["::"], "network"),
        (["127.0.0.1", "::"], "network"),
    ],
)
def test_who_can_reach_a_port_is_told_by_where_it_listens(hosts: list[str], who: str) -> None:
    with ExitStack() as stack:
        port = 0
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server((host, port), family=family)
            port = stack.enter_context(listener).getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        assert Here(url).look().listens == Simulated(Machine(), url).look().listens == who
    assert Here(url).look().listens is None


def test_who_can_reach_another_machine_is_not_seen() -> None:
    assert Elsewhere().look().listens is None
