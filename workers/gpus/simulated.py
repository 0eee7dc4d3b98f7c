"""Hardware of the simulated lab, read over HTTP."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import BaseModel, Field, ValidationError

from workers.gpus.base import HardwareReading
from workers.mirror.limiting import TokenBucket
from workers.mirror.shelf import Blob, Outlet
from workers.shelf import StoreFiles
from workers.wire import DiskReading, DriverReading, GpuReading, HostReading, Setting

TIMEOUT_S = 2.0
# The mark of a file of which there is no more than its size (``workers.simlab.registry``).
VIRTUAL_HEADER = "x-simlab-virtual"
# Some 10 Gbit/s: a demo should not take long.
WIRE_BYTES_PER_S = 1e9
WIRE_PIECE_BYTES = 2**26
VIRTUAL_PIECES = 8


class _Answer(BaseModel):
    driver: DriverReading
    gpus: tuple[GpuReading, ...]
    host: HostReading
    disk: DiskReading | None = None
    settings: dict[int, dict[str, str]] = Field(default_factory=dict)
    stores: dict[int, str] = Field(default_factory=dict)


class _Cleared(BaseModel):
    freed_bytes: int
    kept: int


@dataclass(frozen=True, kw_only=True)
class VirtualBlob:
    """A file of a simulated store, told by lines that hold numbers of bytes."""

    size_bytes: int
    limiter: TokenBucket
    is_rotten: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """Say what it is."""
        return {VIRTUAL_HEADER: "1"}

    def body_bytes(self, start: int, stop: int) -> None:
        """Return nothing: the number of lines is not known."""

    async def send_to(self, outlet: Outlet, start: int, stop: int) -> None:
        """Tell of the bytes as fast as a cable would carry them, or as the limit lets them."""
        wire = TokenBucket(WIRE_BYTES_PER_S)
        while start < stop:
            most = min(self.limiter.piece_bytes * VIRTUAL_PIECES, WIRE_PIECE_BYTES)
            count = min(most, stop - start)
            await wire.take(count)
            await self.limiter.take(count)
            await outlet.send(f"{count}{' corrupt' * self.is_rotten}\n".encode())
            start += count


class SimulatedFiles(StoreFiles):
    """A simulated store, whose large files are only told of; only the simulation frees its disk."""

    def __init__(self, folder: Path, *, clear: Callable[[], tuple[int, int]]) -> None:
        super().__init__(folder)
        self._clear = clear

    def measure(self, entry: os.DirEntry[str]) -> tuple[str, int]:
        """Read the size of a file of which there is no more. Raises ``OSError``."""
        name = entry.name.removesuffix(".virtual")
        if name != entry.name or name.endswith("-partial"):
            return name, int(Path(entry.path).read_text())
        return super().measure(entry)

    def blob(self, digest: str, size_bytes: int, limiter: TokenBucket) -> Blob | None:
        """Return a file to be given away, of which there may be a number alone."""
        try:
            number = (self.folder / "blobs" / f"sha256-{digest}.virtual").read_text()
        except OSError:
            return super().blob(digest, size_bytes, limiter)
        if int(number) != size_bytes:
            return None
        is_rotten = (self.folder / "blobs" / f"sha256-{digest}.rotten").exists()
        return VirtualBlob(size_bytes=size_bytes, limiter=limiter, is_rotten=is_rotten)

    def clear_partials(self) -> tuple[int, int]:
        """Let the simulation delete them. Raises ``OSError``."""
        return self._clear()


class SimulatedSource:
    """Reads one machine of the simulated lab from its address."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._settings: dict[int, dict[str, str]] = {}
        self._stores: dict[int, str] = {}
        no_idle = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(timeout=TIMEOUT_S, trust_env=False, limits=no_idle)

    def read(self) -> HardwareReading:
        """Return the simulated machine; while the simulation is away, its driver has an error."""
        try:
            answer = self._http.get(self._url).raise_for_status()
            parsed = _Answer.model_validate_json(answer.content)
        except (httpx.HTTPError, ValidationError) as error:
            reason = f"the simulated machine does not answer: {error}"
            driver = DriverReading(state="error", reason=reason)
            return HardwareReading(driver=driver, gpus=(), host=HostReading())
        self._settings, self._stores = parsed.settings, parsed.stores
        return HardwareReading(
            driver=parsed.driver, gpus=parsed.gpus, host=parsed.host, disk=parsed.disk
        )

    def settings(self, port: int) -> tuple[Setting, ...]:
        """Return what the simulated server on a port was started with, as last read."""
        found = self._settings.get(port, {})
        return tuple(Setting(name=name, value=value) for name, value in found.items())

    def files(self, port: int) -> StoreFiles | None:
        """Return what reads the store of the simulated server on a port."""
        found = self._stores.get(port)
        if found is None:
            return None
        return SimulatedFiles(Path(found), clear=lambda: self._clear(port))

    def _clear(self, port: int) -> tuple[int, int]:
        try:
            answer = self._http.delete(self._url.replace("/hardware", f"/partials/{port}"))
            cleared = _Cleared.model_validate_json(answer.raise_for_status().content)
        except (httpx.HTTPError, ValidationError) as error:
            raise OSError("the simulated machine does not answer") from error
        return cleared.freed_bytes, cleared.kept

    def log(self, port: int) -> list[str]:
        """Return the log of the simulated server on a port. Raises ``OSError``."""
        try:
            answer = self._http.get(self._url.replace("/hardware", f"/logs/{port}"))
            return answer.raise_for_status().text.splitlines()
        except httpx.HTTPError as error:
            raise OSError("the simulated machine does not answer") from error
