import socket

import psutil

from workers.gpus.host import Host


def test_load_is_unknown_until_there_was_an_interval() -> None:
    host = Host()

    first, second = host.read(), host.read()

    assert first.cpu_percent is None
    assert second.cpu_percent is not None


def test_memory_and_name_are_this_machines() -> None:
    reading = Host().read()

    assert reading.ram_total_bytes == psutil.virtual_memory().total
    assert reading.ram_used_bytes
    assert 0 < reading.ram_used_bytes < psutil.virtual_memory().total
    assert reading.hostname == socket.gethostname()
