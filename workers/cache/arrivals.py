"""All downloads of the cache: one for each blob, however many wait for it; and room for them."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from workers.cache.addresses import Address
from workers.cache.arrival import Arrival
from workers.cache.counting import Count
from workers.cache.files import Files
from workers.cache.manifests import Blob
from workers.cache.upstream import Upstream
from workers.cache.vessel import Vessel
from workers.mirror.limiting import TokenBucket

# At once; each has up to four lines.
MOST_ARRIVALS = 12
# After a failure a blob is not asked for again at once, twice as long after each further one.
FIRST_PAUSE_S = 5.0
MOST_PAUSE_S = 600.0
# While the disk takes what came, nothing comes: so much is made up for.
BURST_S = 2.0

log = logging.getLogger(__name__)


class CannotArrive(Exception):  # noqa: N818 - named for the state
    """A blob cannot be fetched now; the text says why."""


@dataclass(kw_only=True)
class _Failure:
    reason: str
    until: float
    pause_s: float


class Arrivals:
    """Begins, joins and ends downloads; safe to use from many threads.

    ``limit_bytes`` and ``keep_free_bytes`` bound what lies on disk, ``bytes_per_s`` what comes
    from the internet in all (0: nothing may); models in ``spared`` are not cleared up.
    """

    def __init__(
        self,
        files: Files,
        upstream: Upstream,
        count: Count,
        *,
        vessel: Callable[[Address, Blob], Vessel] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files, self._upstream, self._count, self._clock = files, upstream, count, clock
        self._vessel = vessel or self._file
        self._lock = threading.RLock()
        self._running: dict[str, tuple[Address, Arrival]] = {}
        self._failures: dict[str, _Failure] = {}
        self._bucket = TokenBucket(None, burst_s=BURST_S)
        self._paying = threading.Lock()
        self.limit_bytes = 0
        self.keep_free_bytes = 0
        self.is_held = False
        self.spared: Collection[Address] = ()

    def limit(self, bytes_per_s: int | None) -> None:
        """Let so much through in all; 0 is a pause."""
        self.is_held = bytes_per_s == 0
        if bytes_per_s != 0:
            self._bucket.bytes_per_s = bytes_per_s

    def begin(self, address: Address, blob: Blob) -> Arrival | None:
        """Return the download of a blob, a running or a new one; ``None`` where it is whole.

        Raises ``CannotArrive``.
        """
        with self._lock:
            if blob.digest in self._running:
                return self._running[blob.digest][1]
            if self._files.has(blob):
                return None
            self._refuse_for_now(blob)
            self._make_room(blob)
            if not self._files.here_bytes(blob):
                self._count.begins(blob.digest)
            arrival = self._make(address, blob)
            self._running[blob.digest] = (address, arrival)
        log.info("fetching digest=%s of=%s", blob.digest[:19], address.shown)
        arrival.start()
        return arrival

    def of(self, address: Address) -> list[Arrival]:
        """Return what is on its way for a model."""
        return [arrival for of, arrival in self._all() if of == address]

    def find(self, digest: str) -> Arrival | None:
        """Return what fetches a blob."""
        found = self._running.get(digest)
        return found[1] if found else None

    def keep_only(self, wanted: Collection[Address]) -> None:
        """Stop what nobody wants any more, and everything while nothing may come."""
        for address, arrival in self._all():
            if self.is_held or address not in wanted:
                arrival.stop()

    def close(self) -> None:
        """Stop all, and note what has arrived: threads that wait for a registry would be late."""
        running = self._all()
        self.keep_only(())
        for _, arrival in running:
            try:
                arrival.save()
            except OSError as error:
                log.warning("what arrived is not noted: %s", error.strerror)

    def why_not(self, blob: Blob) -> str | None:
        """Say why a blob did not come the last time."""
        failure = self._failures.get(blob.digest)
        return failure.reason if failure else None

    def room_bytes(self) -> int:
        """Return what could still be taken, after clearing up all that may go."""
        by_limit, by_disk = self._free()
        return max(0, min(by_limit, by_disk) + self._files.spare_bytes(self.spared))

    def used_bytes(self) -> int:
        """Return what lies on disk, with what has arrived of running downloads."""
        running = [(arrival.here_bytes, arrival.blob) for _, arrival in self._all()]
        more = sum(here - self._files.here_bytes(blob) for here, blob in running)
        return self._files.used_bytes + max(0, more)

    def busy(self) -> set[str]:
        """Return what is on its way."""
        return set(self._running)

    # --- one download ----------------------------------------------------------------------------

    def _make(self, address: Address, blob: Blob) -> Arrival:
        def pieces(start: int, stop: int) -> Iterator[bytes]:
            spans = self._upstream.pieces(
                address, blob.digest, start=start, stop=stop, size_bytes=blob.size_bytes
            )
            for piece in spans:
                self._pay(len(piece))
                self._count.came(len(piece))
                yield piece

        try:
            vessel = self._vessel(address, blob)
        except OSError as error:
            raise CannotArrive(f"the cache cannot write: {error.strerror}") from error
        note = self._files.note_path(blob.digest)
        return Arrival(blob, vessel=vessel, note=note, pieces=pieces, ended=self._end)

    def _file(self, _: Address, blob: Blob) -> Vessel:
        return Vessel(self._files.partial_path(blob.digest), blob.size_bytes)

    def _pay(self, so_many: int) -> None:
        """Wait until the limit lets so much through; ten minutes at most, then go on."""
        with self._paying:
            wait_s = self._bucket.book(so_many)
        if wait_s > 0:
            time.sleep(min(wait_s, MOST_PAUSE_S))

    def _end(self, arrival: Arrival) -> None:
        blob = arrival.blob
        with self._lock:
            if arrival.is_verified or arrival.is_damaged:
                try:
                    self._settle(blob, arrival)
                except OSError as error:
                    self._fail(blob, f"the cache cannot write: {error.strerror}")
            else:
                self._files.arrived(blob.digest, arrival.here_bytes)
                if arrival.failure:
                    self._fail(blob, arrival.failure)
            self._running.pop(blob.digest, None)

    def _settle(self, blob: Blob, arrival: Arrival) -> None:
        """Keep or delete what came to its end. Raises ``OSError``."""
        if arrival.is_verified:
            self._failures.pop(blob.digest, None)
            self._files.finish(blob)
        else:
            self._files.delete(blob.digest)
            self._fail(blob, arrival.failure or "")

    def _fail(self, blob: Blob, reason: str) -> None:
        before = self._failures.get(blob.digest)
        pause_s = min(MOST_PAUSE_S, before.pause_s * 2) if before else FIRST_PAUSE_S
        until = self._clock() + pause_s
        self._failures[blob.digest] = _Failure(reason=reason, until=until, pause_s=pause_s)
        log.warning("not fetched digest=%s reason=%s", blob.digest[:19], reason)

    # --- may it begin ----------------------------------------------------------------------------

    def _refuse_for_now(self, blob: Blob) -> None:
        if self.is_held:
            raise CannotArrive("nothing may be fetched from the internet now")
        if len(self._running) >= MOST_ARRIVALS:
            raise CannotArrive(f"{MOST_ARRIVALS} files are being fetched already")
        failure = self._failures.get(blob.digest)
        if failure and self._clock() < failure.until:
            raise CannotArrive(failure.reason)

    def _make_room(self, blob: Blob) -> None:
        """Clear up for a blob. Raises ``CannotArrive``."""
        need, free = blob.size_bytes - self._files.here_bytes(blob), min(self._free())
        if need > free:
            busy = self.busy() | {blob.digest}
            free += self._files.clear_up(need - free, spared=self.spared, busy=busy)
        if need > free:
            raise CannotArrive("the cache has no room for it")

    def _free(self) -> tuple[int, int]:
        """Return what limit and disk leave, when all that is on its way has come."""
        running = [arrival for _, arrival in self._all()]
        # What has arrived is counted by the folder when it ends, and by the disk at once.
        by_folder = sum(
            each.blob.size_bytes - self._files.here_bytes(each.blob) for each in running
        )
        by_disk = sum(each.blob.size_bytes - each.here_bytes for each in running)
        return (
            self.limit_bytes - self._files.used_bytes - by_folder,
            self._files.disk_free_bytes() - self.keep_free_bytes - by_disk,
        )

    def _all(self) -> list[tuple[Address, Arrival]]:
        return list(self._running.values())
