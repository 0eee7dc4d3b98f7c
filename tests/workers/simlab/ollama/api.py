"""Short ways to speak to a fake server."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.simlab import OllamaLab

TIMEOUT_S = 20
# No proxies, and no certificates to read for each call.
_CALL: Any = {
    "trust_env": False,
    "timeout": TIMEOUT_S,
    "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
}


def get(lab: OllamaLab, path: str) -> Any:
    """Read JSON."""
    return httpx.get(lab.url + path, **_CALL).json()


def post(lab: OllamaLab, path: str, **body: Any) -> httpx.Response:
    """Send JSON and wait for the whole answer."""
    return httpx.post(lab.url + path, json=body, **_CALL)


def delete(lab: OllamaLab, model: str) -> httpx.Response:
    """Delete a model."""
    url = f"{lab.url}/api/delete"
    body = {"model": model}
    return httpx.request("DELETE", url, json=body, **_CALL)


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    """Read a stream that has ended."""
    return [json.loads(line) for line in response.text.splitlines()]


def pull(lab: OllamaLab, model: str, **more: Any) -> list[dict[str, Any]]:
    """Pull to the end."""
    return lines(post(lab, "/api/pull", model=model, **more))


def steps(stream: list[dict[str, Any]]) -> list[str]:
    """Name the steps of a pull, its progress left out."""
    names = [line.get("error") or line["status"] for line in stream]
    return [name for name in names if not name.startswith("pulling ") or name.endswith("manifest")]


def progress(stream: list[dict[str, Any]]) -> list[int]:
    """Give the bytes of the first layer, line by line; 0 where the line has none."""
    with_digest = [line for line in stream if "digest" in line]
    first = with_digest[0]["digest"] if with_digest else ""
    return [line.get("completed", 0) for line in with_digest if line["digest"] == first]


def names(lab: OllamaLab, path: str = "/api/tags") -> list[str]:
    """List what is installed, or loaded."""
    return [model["name"] for model in get(lab, path)["models"]]


def loaded(lab: OllamaLab) -> list[str]:
    """List what is loaded."""
    return names(lab, "/api/ps")


@contextmanager
def stream(lab: OllamaLab, path: str, **body: Any) -> Iterator[Iterator[dict[str, Any]]]:
    """Read a stream line by line; leaving the block closes the connection."""
    url = lab.url + path
    with httpx.stream("POST", url, json=body, **_CALL) as response:
        yield (json.loads(line) for line in response.iter_lines())


def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    """Wait for something, and fail when it does not come."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class Background[T]:
    """Something that runs beside the test; ``result`` waits for it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._found: list[T] = []
        self._errors: list[Exception] = []
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def result(self) -> T:
        """Give what the work gave, or raise what it raised."""
        self._thread.join(TIMEOUT_S)
        if self._errors:
            raise self._errors[0]
        return self._found[0]

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._found.append(work())
        except Exception as error:  # noqa: BLE001 - raised again in the test's own thread
            self._errors.append(error)
