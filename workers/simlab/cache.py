"""The hub's cache of models for a simulated lab, whose large files exist as a number alone.

All of it is the real one but three things: of a virtual file, the registry tells how many bytes
went by; the file into which it arrives is a hole of that size; and who asks for it is told
numbers too. Its one upstream is the simulated registry.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from workers.cache.__main__ import parser, serve
from workers.cache.addresses import SERVICES, Address, Service
from workers.cache.arrival import Arrival
from workers.cache.arrivals import Arrivals
from workers.cache.cache import Cache
from workers.cache.counting import Count
from workers.cache.files import Files
from workers.cache.manifests import Blob
from workers.cache.upstream import OK, TIMEOUT, Upstream, UpstreamBad, UpstreamDown
from workers.cache.vessel import Digest, Vessel
from workers.mirror.shelf import Blob as Served
from workers.mirror.shelf import Outlet
from workers.simlab.registry import VIRTUAL_HEADER

_ZEROS, _WRONG = bytes(2**20), b"\1" * 2**20
# A whole file is told in so many lines a second at most: nobody waits for a disk.
_TOLD_BYTES = 2**26
_FIRST_BYTES, _LEAVE_S = 2**16, 0.02


class VirtualUpstream(Upstream):
    """Asks the simulated registry; of a virtual file it gets as many zeros as bytes went by."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        super().__init__(services, by_proxy=False)
        self._asker = httpx.Client(timeout=TIMEOUT, trust_env=False)
        self._virtual: dict[str, bool] = {}

    def close(self) -> None:
        """Close all connections."""
        super().close()
        self._asker.close()

    def is_virtual(self, address: Address, digest: str) -> bool:
        """Ask whether a file is virtual. Raises ``OSError``."""
        if digest not in self._virtual:
            try:
                answer = self._asker.head(self._url(address, digest))
            except httpx.HTTPError as error:
                raise OSError(0, "the simulated registry does not answer") from error
            self._virtual[digest] = VIRTUAL_HEADER in answer.headers
        return self._virtual[digest]

    def pieces(
        self, address: Address, digest: str, *, start: int, stop: int, size_bytes: int
    ) -> Iterator[bytes]:
        """Yield the bytes of a file."""
        if self._virtual.get(digest):
            return self._granted(address, digest, start=start, stop=stop)
        return super().pieces(address, digest, start=start, stop=stop, size_bytes=size_bytes)

    def _granted(self, address: Address, digest: str, *, start: int, stop: int) -> Iterator[bytes]:
        headers = {VIRTUAL_HEADER: "1", "Range": f"bytes={start}-{stop - 1}"}
        left = stop - start
        try:
            with self._asker.stream("GET", self._url(address, digest), headers=headers) as answer:
                if answer.status_code not in {OK, 206}:
                    raise UpstreamBad(f"the simulated registry answers {answer.status_code}")
                for line in answer.iter_lines():
                    number, _, mark = line.partition(" ")
                    left -= int(number)
                    yield from _hollow(int(number), _WRONG if mark else _ZEROS)
        except httpx.HTTPError as error:
            raise UpstreamDown("the simulated registry broke off") from error
        if left:
            raise UpstreamDown("the simulated registry broke off")

    def _url(self, address: Address, digest: str) -> str:
        base = self._services[address.host].base
        return f"{base}/v2/{address.repository}/blobs/{digest}"


def _hollow(count: int, bytes_: bytes) -> Iterator[bytes]:
    while count > 0:
        yield bytes_[: min(count, len(bytes_))]
        count -= len(bytes_)


class HollowVessel(Vessel):
    """A file that is a hole: what is written is only looked at."""

    def __init__(self, path: Path, blob: Blob) -> None:
        super().__init__(path, blob.size_bytes)
        self._digest = blob.digest.partition(":")[2]
        self.is_damaged = False

    def write(self, at: int, data: bytes) -> None:  # noqa: ARG002 - a hole has no places
        """Take note of wrong bytes."""
        self.is_damaged |= data[:1] == _WRONG[:1]

    def read(self, at: int, count: int) -> bytes:  # noqa: ARG002 - a hole has no places
        """Read zeros."""
        return _ZEROS[:count]

    def digest(self) -> Digest:
        """Return the digest that the file would have."""
        return _Said(self)

    def said(self) -> str:
        """Tell the digest of what came."""
        return "0" * 64 if self.is_damaged else self._digest


@dataclass(frozen=True)
class _Said:
    vessel: HollowVessel

    def update(self, data: bytes, /) -> None:
        """Nothing to add up."""

    def hexdigest(self) -> str:
        """Tell the digest."""
        return self.vessel.said()


@dataclass(frozen=True, kw_only=True)
class VirtualBlob:
    """A virtual file, served as the simulated registry does: by lines that hold numbers."""

    size_bytes: int
    arrival: Arrival | None
    given: Callable[[int], None]

    @property
    def headers(self) -> dict[str, str]:
        """Say what it is."""
        return {VIRTUAL_HEADER: "1"}

    def body_bytes(self, start: int, stop: int) -> None:
        """Return nothing: the number of lines is not known."""

    async def send_to(self, outlet: Outlet, start: int, stop: int) -> None:
        """Tell of bytes as they come. Raises ``OSError`` where they will not."""
        most = _FIRST_BYTES
        while start < stop:
            end = stop if self.arrival is None else min(stop, await self.arrival.wait(start))
            count = min(end - start, most)
            await outlet.send(f"{count}\n".encode())
            self.given(count)
            # Who only asks where the bytes are leaves now; with real bytes that is seen at once.
            await asyncio.sleep(_LEAVE_S if most == _FIRST_BYTES else 0)
            start, most = start + count, _TOLD_BYTES


class VirtualCache(Cache):
    """The cache, which tells of virtual files by numbers."""

    def give(self, named: Blob, arrival: Arrival | None) -> Served:
        """Return how a blob is served."""
        path = self.files.partial_path if arrival else self.files.blob_path
        if not _is_hole(path(named.digest)):
            return super().give(named, arrival)
        return VirtualBlob(size_bytes=named.size_bytes, arrival=arrival, given=self.counted(named))


def _is_hole(path: Path) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return found.st_blocks == 0 and found.st_size > _TOLD_BYTES // 64


def build(services: Mapping[str, Service]) -> Callable[[Files, Count], Cache]:
    """Return what puts a cache of the simulated registry together."""

    def put_together(files: Files, count: Count) -> Cache:
        upstream = VirtualUpstream(services)

        def vessel(address: Address, blob: Blob) -> Vessel:
            path = files.partial_path(blob.digest)
            if upstream.is_virtual(address, blob.digest):
                return HollowVessel(path, blob)
            return Vessel(path, blob.size_bytes)

        return VirtualCache(files, upstream, Arrivals(files, upstream, count, vessel=vessel), count)

    return put_together


def main() -> int:
    """Serve until SIGTERM; return the exit code."""
    given = parser()
    given.add_argument("--upstream", required=True, help="the simulated registry")
    arguments = given.parse_args()
    return serve(arguments, build(dict.fromkeys(SERVICES, Service(arguments.upstream))))


if __name__ == "__main__":
    sys.exit(main())
