"""A second pull of a blob whose size the registry has not told yet: the real server's worst bug."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.simlab import OllamaLab, ollama_lab
from tests.workers.simlab.ollama.api import Background, get, pull, steps, stream, until
from workers.simlab.ollama.settings import Quirks

MODEL = "llama3.2:1b"


@contextmanager
def slow_head(seconds: float, quirks: Quirks | None = None) -> Iterator[OllamaLab]:
    """Let the registry take its time to tell a blob's size."""
    with ollama_lab(quirks=quirks) as lab:
        lab.registry.head_delay_s = seconds
        yield lab


def first_pull(lab: OllamaLab) -> Background[list[dict[str, object]]]:
    work = Background(lambda: pull(lab, MODEL))
    until(lambda: bool(lab.server.downloads.active))
    return work


def test_the_second_pull_has_no_numbers_until_the_size_is_known() -> None:
    with slow_head(0.4) as lab:
        first = first_pull(lab)
        with stream(lab, "/api/pull", model=MODEL) as second:
            next(second)
            line = next(second)
            assert set(line) == {"status", "digest"}
            assert steps(list(second))[-1] == "success"
        assert steps(first.result())[-1] == "success"


def test_the_whole_server_dies_when_the_second_client_leaves_before() -> None:
    with slow_head(5) as lab:
        first = first_pull(lab)
        with stream(lab, "/api/pull", model=MODEL) as second:
            next(second)
            next(second)
        until(lambda: not lab.hosted.is_running)
        with pytest.raises(httpx.HTTPError):
            first.result()
        # A connection may still be taken by the system before nobody listens.
        with pytest.raises(httpx.TransportError):
            get(lab, "/api/version")


def test_a_dead_server_is_started_again_by_its_system() -> None:
    with slow_head(5) as lab:
        lab.hosted.restart_s = 0.05
        first_pull(lab)
        with stream(lab, "/api/pull", model=MODEL) as second:
            next(second)
            next(second)
        until(lambda: lab.hosted.crashes == 1 and lab.hosted.is_running)
        assert get(lab, "/api/version") == {"version": "0.32.15"}


def test_the_second_pull_waits_for_ever_when_the_size_is_refused() -> None:
    with slow_head(0.3) as lab:
        lab.registry.order(MODEL, "blob-404")
        first = first_pull(lab)
        with stream(lab, "/api/pull", model=MODEL) as second:
            assert steps(first.result())[-1] == "file does not exist"
            seen = [next(second) for _ in range(60)]
        assert all("total" not in line and "error" not in line for line in seen)


def test_none_of_this_happens_where_it_is_switched_off() -> None:
    with slow_head(0.4, Quirks(shared_pull=False)) as lab:
        first = first_pull(lab)
        with stream(lab, "/api/pull", model=MODEL) as second:
            next(second)
            next(second)
        assert steps(first.result())[-1] == "success"
        assert lab.hosted.is_running
