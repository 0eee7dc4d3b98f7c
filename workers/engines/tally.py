"""How far a pull is, added up over its layers, each of which Ollama reports alone."""

from collections import deque
from collections.abc import Mapping

from workers.engines.stream import Line
from workers.wire import PullPhase

# Speed is that of the last ten seconds: a shorter window flickers, a longer one lags.
WINDOW_S = 10.0
# A model has a dozen at most; a server that names ever more is none of Ollama's.
MOST_LAYERS = 1000
# Before so much time has passed, a speed would be a guess.
LEAST_S = 1.0

# What a line without a digest says, by how it begins (seen on 0.33.0-rc2).
_PHASES: tuple[tuple[str, PullPhase], ...] = (
    ("pulling manifest", "starting"),
    ("verifying", "verifying"),
    ("writing manifest", "finishing"),
    ("removing unused layers", "finishing"),
)


class Tally:
    """Sums progress lines. Times are seconds of one monotonic clock, given by the caller.

    ``gained_at`` is when bytes last came, ``advanced_at`` when there last were more than ever.
    """

    def __init__(self, *, now: float) -> None:
        self.phase: PullPhase = "starting"
        self.gained_at = now
        self.advanced_at = now
        self._totals: dict[str, int] = {}
        self._completed: dict[str, int] = {}
        self._most = 0
        self._arrived = 0
        self._found = 0
        self._window: deque[tuple[float, int]] = deque()
        self._layer: str | None = None

    def begin_again(self, *, now: float) -> None:
        """Expect a new answer about the same pull: what it tells first was there before."""
        self.phase = "starting"
        self.gained_at = now
        self._layer = None
        self._window.clear()

    def add(self, line: Line, *, now: float) -> None:
        """Take in a line."""
        if line.digest is not None:
            self._enter("downloading", now)
            is_known = line.digest in self._totals or len(self._totals) < MOST_LAYERS
            if line.total is not None and is_known:
                self._add_layer(line.digest, line.total, line.completed or 0, now)
        else:
            phase = next((p for start, p in _PHASES if line.status.startswith(start)), self.phase)
            self._enter(phase, now)
            if phase in {"verifying", "finishing"}:
                self._complete_all(now)

    @property
    def done_bytes(self) -> int | None:
        """Bytes that are there; never falls, though Ollama may drop a part and fetch it anew."""
        return self._most if self._totals else None

    @property
    def total_bytes(self) -> int | None:
        """Bytes of the layers known so far: Ollama names each only when it comes to it."""
        return sum(self._totals.values()) if self._totals else None

    @property
    def arrived_bytes(self) -> int:
        """Bytes that came since the beginning, those that came twice included."""
        return self._arrived

    @property
    def found_bytes(self) -> int | None:
        """Bytes of the layers known so far that lay there at the beginning."""
        return self._found if self._totals else None

    @property
    def layers(self) -> Mapping[str, int]:
        """Bytes of each layer known so far, by digest."""
        return self._totals

    @property
    def missing_bytes(self) -> int:
        """Bytes that must still come, of the layers known so far."""
        return sum(self._totals.values()) - sum(self._completed.values())

    def bytes_per_s(self, *, now: float) -> float | None:
        """Return the speed of the last seconds while something is downloaded."""
        if self.phase != "downloading" or not self._window:
            return None
        while len(self._window) > 1 and self._window[1][0] <= now - WINDOW_S:
            self._window.popleft()
        since, arrived = self._window[0]
        return (self._arrived - arrived) / (now - since) if now - since >= LEAST_S else None

    def remaining_s(self, *, now: float) -> float | None:
        """Return the time left at the present speed; unknown while nothing comes."""
        speed = self.bytes_per_s(now=now)
        return self.missing_bytes / speed if speed else None

    def _enter(self, phase: PullPhase, now: float) -> None:
        if phase != self.phase:
            self.phase = phase
            self.gained_at = now

    def _add_layer(self, digest: str, total: int, completed: int, now: float) -> None:
        if digest != self._layer:
            # A layer's last line is below its total: only the next layer tells that it ended.
            if self._layer is not None:
                self._completed[self._layer] = self._totals[self._layer]
            self._layer = digest
            self.gained_at = now
            self._found += 0 if digest in self._totals else min(completed, total)
        elif (gain := completed - self._completed[digest]) > 0:
            self._arrived += gain
            self.gained_at = now
        self._totals[digest] = total
        self._completed[digest] = min(completed, total)
        self._note(now)

    def _complete_all(self, now: float) -> None:
        self._completed = dict(self._totals)
        self._note(now)

    def _note(self, now: float) -> None:
        self._window.append((now, self._arrived))
        if (done := sum(self._completed.values())) > self._most:
            self._most = done
            self.advanced_at = now
