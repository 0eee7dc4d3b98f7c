"""An answer on its way to the page: lines of JSON, written to one short-lived key."""

import json
import time
from collections import deque

from workers.store import Store, StoreDown
from workers.values import MOST_PROSE
from workers.wire import TryEnd, TryLine, TryText
from workers.wire.tries import BEAT_S, ENDED_KEPT_S

# An end that the store could not take is offered again for so long.
END_OFFERED_S = 10.0


class Answer:
    """Collects what a model says and writes it in pieces.

    ``is_empty`` until a word of an answer came, whatever the model thinks. It may be filled and
    written from different threads, by one writer at a time.
    """

    def __init__(self, store: Store, try_id: str) -> None:
        self._store = store
        self._try_id = try_id
        self.is_empty = True
        self._at = 0
        self._unsent = ""
        self._waiting: deque[TryLine] = deque()

    @property
    def size_bytes(self) -> int:
        """What was written so far."""
        return self._at

    def add(self, line: TryLine) -> None:
        """Take in a line."""
        self._waiting.append(line)

    def add_text(self, text: str, *, thinking: bool) -> None:
        """Take in a piece of text, however long."""
        if not thinking and text.strip():
            self.is_empty = False
        for start in range(0, len(text), MOST_PROSE):
            self.add(TryText(text=text[start : start + MOST_PROSE], thinking=thinking))

    def flush(self) -> None:
        """Write what came, and say that more may come. Raises ``StoreDown``."""
        self._write(keep_s=BEAT_S)

    def end(self, end: TryEnd) -> None:
        """Write the end; a store that stays away never learns of it, and the page says so."""
        self.add(end)
        until = time.monotonic() + END_OFFERED_S
        while time.monotonic() < until:
            try:
                self._write(keep_s=ENDED_KEPT_S)
            except StoreDown:
                time.sleep(1)
            else:
                return

    def _write(self, *, keep_s: int) -> None:
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        self._unsent += "".join(f"{_ascii(line)}\n" for line in _joined(taken))
        self._store.write_answer(self._try_id, at=self._at, text=self._unsent, keep_s=keep_s)
        self._at += len(self._unsent)
        self._unsent = ""


def _ascii(line: TryLine) -> str:
    """Write a line in ASCII: a reader may cut it anywhere."""
    return json.dumps(line.model_dump(mode="json"), ensure_ascii=True)


def _joined(lines: list[TryLine]) -> list[TryLine]:
    """Join texts that follow each other: Ollama sends a token a line."""
    joined: list[TryLine] = []
    for line in lines:
        before = joined[-1] if joined else None
        if (
            isinstance(line, TryText)
            and isinstance(before, TryText)
            and line.thinking == before.thinking
            and len(line.text) + len(before.text) <= MOST_PROSE
        ):
            joined[-1] = TryText(text=before.text + line.text, thinking=line.thinking)
        else:
            joined.append(line)
    return joined
