"""The store that the runner brings."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from labdash.runner import store
from labdash.runner.child import Command
from labdash.runner.errors import CannotStart
from tests.labdash.runner.test_supervisor import soon


def command_for(folder: Path) -> Command:
    store.prepare_accounts(folder)
    return store.store_command(
        store.find_store(),
        socket_path=folder / "store.sock",
        folder=folder,
        environment=dict(os.environ),
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with serve(tmp_path) as process:
        assert soon(lambda: store.store_answers(tmp_path / "store.sock"))
        yield process
        process.kill()


def serve(folder: Path) -> "subprocess.Popen[bytes]":
    command = command_for(folder)
    return subprocess.Popen(command.argv, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command


def client_of(folder: Path) -> redis.Redis:
    return redis.Redis(
        unix_socket_path=str(folder / "store.sock"),
        username="hub",
        password=(folder / "password").read_text().strip(),
        decode_responses=True,
    )


@pytest.mark.usefixtures("server")
def test_it_never_evicts_has_a_limit_and_no_port(tmp_path: Path) -> None:
    with client_of(tmp_path) as client:
        wanted = {"maxmemory": str(256 * 2**20), "maxmemory-policy": "noeviction", "port": "0"}
        assert {name: client.config_get(name)[name] for name in wanted} == wanted
    assert (tmp_path / "store.sock").stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("server")
def test_nobody_is_let_in_without_the_hubs_password(tmp_path: Path) -> None:
    for account in ("", "hub:guessed@", "default:@"):
        with (
            redis.Redis.from_url(f"unix://{account}{tmp_path / 'store.sock'}") as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.get("node:rog:spec")
    for name in ("password", "users.acl"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_accounts_of_nodes_outlive_a_restart_and_the_hubs_is_set_anew(tmp_path: Path) -> None:
    store.prepare_accounts(tmp_path)
    first = (tmp_path / "users.acl").read_text()
    node = "user labdash0-rog on #" + "0" * 64 + " ~node:rog:* +@read"
    (tmp_path / "users.acl").write_text(f"user default on nopass ~* +@all\n{node}\n")
    store.prepare_accounts(tmp_path)
    assert (tmp_path / "users.acl").read_text() == f"{first}{node}\n"


def test_queues_outlive_a_restart(tmp_path: Path, server: "subprocess.Popen[bytes]") -> None:
    with client_of(tmp_path) as client:
        client.lpush("node:rog:orders", "wake up")
    server.terminate()
    server.wait(10)
    with serve(tmp_path) as second:
        assert soon(lambda: store.store_answers(tmp_path / "store.sock"))
        with client_of(tmp_path) as client:
            assert client.lrange("node:rog:orders", 0, -1) == ["wake up"]
        second.kill()


def test_where_the_wheels_server_does_not_run_the_systems_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken, system = tmp_path / "wheel" / "valkey-server", tmp_path / "bin" / "redis-server"
    for path, code in ((broken, "exit 127"), (system, "echo v=8")):
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n{code}\n")
        path.chmod(0o755)
    monkeypatch.setattr(store, "_wheel_folders", lambda: [str(broken.parent)])
    monkeypatch.setenv("PATH", f"{system.parent}")
    # The shells of both scripts are named by their path, so nothing else is needed of PATH.
    assert store.find_store() == str(system)


def test_without_any_server_the_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(store, "_wheel_folders", list)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotStart, match="apt-get install redis-server"):
        store.find_store()


def test_a_server_that_hangs_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hanging = tmp_path / "valkey-server"
    hanging.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(store, "VERSION_TIMEOUT_S", 0.1)
    monkeypatch.setattr(store, "_wheel_folders", lambda: [str(tmp_path)])
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(CannotStart, match="no Valkey or Redis server runs here"):
        store.find_store()


def test_the_short_folder_is_removed_and_one_in_the_data_folder_stays(tmp_path: Path) -> None:
    for folder in (tmp_path / "short", tmp_path / "var" / "run"):
        folder.mkdir(parents=True)
        (folder / "store.sock").touch()
        store.remove_socket_folder(folder / "store.sock", tmp_path / "var")
    assert not (tmp_path / "short").exists()
    assert (tmp_path / "var" / "run" / "store.sock").exists()


def test_a_socket_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(CannotStart, match="belongs to another user"):
        store.make_socket_folder(tmp_path / "link" / "store.sock")
    store.make_socket_folder(tmp_path / "mine" / "store.sock")
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700
