"""Replays recordings against a fake server.

By hand, over recordings that lie elsewhere: ``python -m tests.workers.simlab.playing FOLDER``.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.simlab import OllamaLab, ollama_lab
from tests.workers.simlab.actions import SETTLE_S
from tests.workers.simlab.episodes import EPISODES, Episode, not_covered
from tests.workers.simlab.recorded import HOST, VERSION, RoomyMachine, weights
from tests.workers.simlab.replay import Got, differences, leave_like, send


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one exchange; ``differences`` is ``None`` where it was not replayed."""

    case: str
    differences: list[str] | None


@contextmanager
def stage(episode: Episode, folder: Path | None = None) -> Iterator[OllamaLab]:
    """Run a server in the state in which a recording begins."""
    machine = RoomyMachine(slug="rec", kind="linux", version=VERSION)
    with ollama_lab(
        machine,
        folder=folder,
        weights=weights(),
        hosts=(),
        plain_hosts={HOST: episode.registry},
        pace=episode.pace,
        environment=episode.environment,
    ) as lab:
        for action in episode.setup:
            action(lab)
        yield lab


def read_exchanges(path: Path) -> list[dict[str, Any]]:
    """Read a file of recordings."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def play(episode: Episode, exchanges: Iterable[dict[str, Any]], lab: OllamaLab) -> list[Outcome]:
    """Send all exchanges in their order."""
    return [_play_one(episode, exchange, lab) for exchange in exchanges]


def _play_one(episode: Episode, exchange: dict[str, Any], lab: OllamaLab) -> Outcome:
    case, recorded = exchange["case"], exchange["response"]
    for action in episode.before.get(case, ()):
        action(lab)
    if not is_replayable(exchange) or not_covered(case):
        return Outcome(case=case, differences=None)
    try:
        got = send(lab.url, exchange["request"], leave=leave_like(recorded))
    except (OSError, ValueError) as error:
        got = Got(status=0, headers={}, body=repr(error))
    if "client_disconnected_after_lines" in recorded:
        _settle(lab)
    return Outcome(case=case, differences=differences(recorded, got))


def _settle(lab: OllamaLab) -> None:
    """Wait until the server has seen that its client left."""
    deadline = time.monotonic() + SETTLE_S
    while lab.server.downloads.active and time.monotonic() < deadline:
        time.sleep(0.01)


def is_replayable(exchange: dict[str, Any]) -> bool:
    """Whether an exchange is one request and its answer, and not a look at files or processes."""
    request, recorded = exchange.get("request") or {}, exchange["response"]
    # One recorder left the body of a second client out.
    if exchange["case"].startswith("two pulls"):
        return False
    if "path" not in request or "status" not in recorded or "exception" in recorded:
        return False
    if str(request.get("body_raw", "")).endswith("raw bytes>"):
        return False
    return "body" in recorded or "lines" in recorded


def main(folder: Path) -> None:
    """Replay every file that has an episode and print what differs."""
    agreed = total = 0
    for name, episode in EPISODES.items():
        exchanges = read_exchanges(folder / f"{name}.jsonl")
        with stage(episode) as lab:
            outcomes = play(episode, exchanges, lab)
        tried = [outcome for outcome in outcomes if outcome.differences is not None]
        good = [outcome for outcome in tried if not outcome.differences]
        agreed, total = agreed + len(good), total + len(tried)
        print(f"{name}: {len(good)} of {len(tried)} agree ({_why_not(exchanges)})")  # noqa: T201 - run by hand
        for outcome in tried:
            if outcome.differences:
                print(f"  {outcome.case}: {outcome.differences}")  # noqa: T201 - run by hand
    print(f"in all {agreed} of {total}")  # noqa: T201 - run by hand


def _why_not(exchanges: list[dict[str, Any]]) -> str:
    reasons = Counter(
        not_covered(each["case"]) or "not one exchange"
        for each in exchanges
        if not_covered(each["case"]) or not is_replayable(each)
    )
    return "left out: " + ", ".join(f"{count} {reason}" for reason, count in reasons.items())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
