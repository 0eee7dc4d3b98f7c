"""What every kind of model server offers to the rest of a node worker."""

from typing import Literal, Protocol

from workers.engines.stream import PullStream
from workers.wire import InstalledModel, LoadedModel

type DownState = Literal["refused", "unreachable", "timeout", "error"]


class EngineDown(Exception):  # noqa: N818 - a state of the server
    """The server gave no usable answer; ``state`` tells how, the text says what it did."""

    def __init__(self, state: DownState, reason: str) -> None:
        super().__init__(reason)
        self.state: DownState = state
        self.reason = reason


class Engine(Protocol):
    """One server. Every call has a time-out and raises ``EngineDown``."""

    url: str

    def version(self) -> str: ...

    def loaded(self) -> tuple[LoadedModel, ...]: ...

    def digests(self) -> frozenset[tuple[str, str]]: ...

    def installed(self) -> tuple[InstalledModel, ...]: ...

    def store(self) -> str | None: ...

    def pull(self, model: str, *, read_s: float, insecure: bool = False) -> PullStream: ...
