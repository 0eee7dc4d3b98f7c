"""Where the web page is served."""

import socket

import pytest

from labdash.env import BadSetting
from labdash.runner.errors import CannotStart
from labdash.runner.listening import addresses, listen
from tests.processes import free_port

ANY = "0.0.0.0"  # noqa: S104 - the address under test


def close(listeners: list[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


def test_by_default_all_addresses_are_served() -> None:
    port = free_port()
    listeners = listen(None, port)
    try:
        assert listeners[0].getsockname() == (ANY, port)
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            pass
    finally:
        close(listeners)


def test_one_address_alone_can_be_served() -> None:
    listeners = listen("127.0.0.1", 0)
    try:
        assert [each.getsockname()[0] for each in listeners] == ["127.0.0.1"]
    finally:
        close(listeners)


def test_a_port_in_use_is_one_line() -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = int(other.getsockname()[1])
        with pytest.raises(CannotStart, match=rf"^port {port} is in use .* --port$"):
            listen(None, port)


def test_an_address_of_another_machine_is_one_line() -> None:
    with pytest.raises(
        CannotStart, match=r"--host 203\.0\.113\.7 is not an address of this machine"
    ):
        listen("203.0.113.7", free_port())


@pytest.mark.parametrize("host", ["..", "x" * 64, "lab..lan", "\udcff", "no such\nname", "fe80::1"])
def test_what_is_no_address_or_cannot_be_listened_on_is_one_line(host: str) -> None:
    with pytest.raises((BadSetting, CannotStart), match=r"^--host [^\n]*$"):
        listen(host, free_port())


def test_addresses_start_with_this_machine_and_leave_out_no_port() -> None:
    assert addresses(None, 8642)[0] == "http://localhost:8642"
    assert addresses("192.168.1.5", 80) == ["http://192.168.1.5:80"]
    assert addresses("fd00::5", 8642) == ["http://[fd00::5]:8642"]
    assert addresses(ANY, 8642) == addresses(None, 8642)
