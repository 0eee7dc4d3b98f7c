"""One blob on its way from a registry: in segments, by a few lines at once, checked at the end.

It is written where it belongs as it comes, so whoever asks for a part that is there gets it at
once; but the last bytes are held back until the digest was found right, so nobody ever gets a
wrong blob whole.
"""

import asyncio
import errno
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from workers.cache.files import read_note, write_note
from workers.cache.manifests import Blob
from workers.cache.upstream import UpstreamBad, UpstreamDown
from workers.cache.vessel import Vessel

SEGMENT_BYTES = 32 * 2**20
LINES = 4
# So much is written at once, so that neither disk nor those who wait are called too often.
WRITE_BYTES = 2**20
# A crash loses at most about so much.
SAVE_EVERY_BYTES = 128 * 2**20
HELD_BACK_BYTES = 64 * 2**10
HASH_BYTES = 2**20
# In a row without a byte; 31 s of pauses in all, within Ollama's own patience of 63 s.
TRIES = 5
FIRST_PAUSE_S = 1.0

log = logging.getLogger(__name__)

type Pieces = Callable[[int, int], Iterator[bytes]]


class Arrival:
    """A download in threads of its own. ``ended`` is told once, by whichever of them.

    ``failure`` says why it ended without the blob; it is empty where it was only stopped.
    """

    def __init__(
        self,
        blob: Blob,
        *,
        vessel: Vessel,
        note: Path,
        pieces: Pieces,
        ended: Callable[["Arrival"], None],
    ) -> None:
        self.blob = blob
        self.vessel = vessel
        self.failure: str | None = None
        self.is_damaged = False
        self.is_verified = False
        self.is_closed = False
        self._note, self._pieces, self._ended = note, pieces, ended
        self._filled = _resumed(note, blob.size_bytes)
        self._free = [n for n in range(len(self._filled)) if self._filled[n] < self._length(n)]
        self._changed = threading.Condition()
        self._saving = threading.Lock()
        self._stopping = threading.Event()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._unsaved = 0
        self._threads = 0

    def start(self) -> None:
        """Begin, or go on where it was left."""
        lines = min(LINES, len(self._free))
        self._threads = lines + 1
        for work in (*[self._fetch] * lines, self._verify):
            threading.Thread(target=self._run, args=(work,), name="arrival", daemon=True).start()

    def stop(self, reason: str = "") -> None:
        """End it, keeping what has arrived; who waits for it is told."""
        with self._changed:
            if self._stopping.is_set():
                return
            self.failure = reason
            self._stopping.set()
            self._tell()
        self._ended(self)

    @property
    def here_bytes(self) -> int:
        """Bytes that have arrived."""
        return sum(self._filled)

    async def wait(self, at: int) -> int:
        """Wait for the byte at an offset; return up to where it goes on. Raises ``OSError``."""
        while True:
            with self._changed:
                end = self._end_from(at)
                if end > at:
                    return end
                if self._stopping.is_set():
                    raise OSError(self.failure or "stopped")
                loop = asyncio.get_running_loop()
                waiter: asyncio.Future[None] = loop.create_future()
                self._waiting.append((loop, waiter))
            await waiter

    # --- lines -----------------------------------------------------------------------------------

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            self.stop(f"it cannot be written ({error.strerror})")
        except Exception:
            log.exception("an arrival failed")
            self.stop("an error of LabDash: see its log")
        finally:
            with self._changed:
                self._threads -= 1
                is_last = not self._threads
            if is_last:
                self._close()

    def _fetch(self) -> None:
        failures, pause_s = 0, FIRST_PAUSE_S
        while (number := self._take()) is not None:
            before = self._filled[number]
            try:
                self._fill(number)
            except UpstreamBad as error:
                self.stop(str(error))
                return
            except UpstreamDown as error:
                if self._filled[number] > before:
                    failures, pause_s = 0, FIRST_PAUSE_S
                failures += 1
                self._give_back(number)
                if failures > TRIES:
                    self.stop(str(error))
                    return
                self._stopping.wait(pause_s)
                pause_s *= 2
            else:
                failures, pause_s = 0, FIRST_PAUSE_S

    def _take(self) -> int | None:
        """Return the next segment that nobody fetches, the earliest; ``None`` at the end."""
        with self._changed:
            return None if self._stopping.is_set() or not self._free else self._free.pop(0)

    def _give_back(self, number: int) -> None:
        with self._changed:
            self._free = sorted([*self._free, number])

    def _fill(self, number: int) -> None:
        base = number * SEGMENT_BYTES
        start, stop = base + self._filled[number], base + self._length(number)
        buffer = bytearray()
        try:
            for piece in self._pieces(start, stop):
                buffer += piece
                if len(buffer) >= WRITE_BYTES:
                    self._put(number, bytes(buffer))
                    buffer.clear()
                if self._stopping.is_set():
                    return
        finally:
            self._put(number, bytes(buffer))

    def _put(self, number: int, data: bytes) -> None:
        if not data or self._stopping.is_set():
            return
        self.vessel.write(number * SEGMENT_BYTES + self._filled[number], data)
        with self._changed:
            self._filled[number] += len(data)
            self._unsaved += len(data)
            is_due = self._unsaved >= SAVE_EVERY_BYTES
            self._unsaved = 0 if is_due else self._unsaved
            self._tell()
        if is_due:
            self.save()

    # --- its digest ------------------------------------------------------------------------------

    def _verify(self) -> None:
        digest, at, size = self.vessel.digest(), 0, self.blob.size_bytes
        while at < size:
            end = self._wait_for(at, min(size, at + 8 * HASH_BYTES))
            if end is None:
                return
            while at < end:
                data = self.vessel.read(at, min(HASH_BYTES, end - at))
                if not data:
                    raise OSError(errno.EIO, "its file is shorter than it was")
                digest.update(data)
                at += len(data)
        if f"sha256:{digest.hexdigest()}" != self.blob.digest:
            with self._saving:
                self.is_damaged = True
            self.stop("what arrived is not what the manifest names: it was thrown away")
            return
        self.vessel.sync()
        with self._saving:
            self.is_verified = True
        with self._changed:
            self._stopping.set()
        self._ended(self)
        with self._changed:
            self._tell()

    def _wait_for(self, at: int, wanted: int) -> int | None:
        """Wait until the blob is there from ``at`` up to ``wanted``; ``None`` when stopped."""
        with self._changed:
            while (end := self._gapless_from(at)) < wanted:
                if self._stopping.is_set():
                    return None
                self._changed.wait()
            return end

    # --- what is there ---------------------------------------------------------------------------

    def _end_from(self, at: int) -> int:
        """Return up to where bytes may be given from ``at`` on."""
        end = self._gapless_from(at)
        return end if self.is_verified else min(end, self.blob.size_bytes - HELD_BACK_BYTES)

    def _gapless_from(self, at: int) -> int:
        for number in range(at // SEGMENT_BYTES, len(self._filled)):
            there = number * SEGMENT_BYTES + self._filled[number]
            if self._filled[number] < self._length(number):
                return max(at, there)
        return self.blob.size_bytes

    def _length(self, number: int) -> int:
        return min(SEGMENT_BYTES, self.blob.size_bytes - number * SEGMENT_BYTES)

    def _tell(self) -> None:
        """Wake all who wait; the lock is held."""
        self._changed.notify_all()
        waiting, self._waiting = self._waiting, []
        for loop, waiter in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_wake, waiter)

    def save(self) -> None:
        """Note what has arrived, unless the whole is known to be right or wrong."""
        with self._saving:
            if self.is_verified or self.is_damaged or self.is_closed:
                return
            with self._changed:
                filled = list(self._filled)
            self.vessel.sync()
            write_note(self._note, filled)

    def _close(self) -> None:
        """Save what has arrived of a blob that is not whole, as the last thread."""
        try:
            self.save()
        except OSError as error:
            log.warning("what arrived is not noted: %s", error.strerror)
        finally:
            with self._saving:
                self.is_closed = True
                self.vessel.close()


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


def _resumed(note: Path, size_bytes: int) -> list[int]:
    """Return how much of each segment is there, as it was noted; nothing where that is odd."""
    lengths = [
        min(SEGMENT_BYTES, size_bytes - start) for start in range(0, size_bytes, SEGMENT_BYTES)
    ]
    known = read_note(note)
    if len(known) != len(lengths):
        return [0] * len(lengths)
    return [min(has, most) for has, most in zip(known, lengths, strict=True)]
