"""Replays whole recordings: the state before them, and what happens between their exchanges.

By hand, over recordings that lie elsewhere: ``python -m tests.workers.simlab.episodes FOLDER``.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.simlab import FAST, OllamaLab, ollama_lab
from tests.workers.simlab.recorded import (
    BIG,
    HOST,
    MID,
    NEW_SMOL,
    QUANTIZED,
    SMOL,
    VERSION,
    RoomyMachine,
    install_all,
    publish,
    publish_all,
    weights,
)
from tests.workers.simlab.replay import Got, differences, leave_like, send
from workers.simlab.ollama.settings import Environment
from workers.simlab.registry import Fault

SETTLE_S = 5
# An address at which nothing listens.
NOBODY = "http://127.0.0.1:9"

type Action = Callable[[OllamaLab], None]


@dataclass(frozen=True, kw_only=True)
class Episode:
    """How one file of recordings is replayed. ``before``: by case, what happens first."""

    setup: tuple[Action, ...] = ()
    environment: Environment = field(default_factory=Environment)
    before: dict[str, tuple[Action, ...]] = field(default_factory=dict)
    registry: str | None = None
    """Where ``registry.local`` really is; ``None``: the lab's own registry."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one exchange; ``differences`` is ``None`` where it was not replayed."""

    case: str
    differences: list[str] | None


def order(fault: Fault, name: str = "mid") -> Action:
    """Let the registry fail in that way."""
    return lambda lab: lab.registry.order(name, fault)


def mend(name: str = "mid") -> Action:
    """End the registry's fault."""
    return lambda lab: lab.registry.order(name, None)


def forget(name: str) -> Action:
    """Delete a model and what was begun of it."""

    def act(lab: OllamaLab) -> None:
        body = {"model": f"{HOST}/library/{name}"}
        send(lab.url, {"method": "DELETE", "path": "/api/delete", "body": body})
        lab.registry.order(name, None)
        for digest in (BIG, MID):
            lab.server.store.partials.drop(digest)

    return act


def speed(bytes_per_s: float | None) -> Action:
    """Limit the registry."""

    def act(lab: OllamaLab) -> None:
        lab.registry.bytes_per_s = bytes_per_s

    return act


def spoil(digest: str) -> Action:
    """Leave an empty part file."""
    return lambda lab: lab.server.store.partials.spoil(digest)


def fill_disk(free_bytes: int) -> Action:
    """Leave that much of the disk."""

    def act(lab: OllamaLab) -> None:
        lab.server.machine.disk_free_bytes = free_bytes

    return act


def put_mid(lab: OllamaLab) -> None:
    """Do what a POST of that blob would."""
    lab.server.store.put_virtual(MID, 30_000_000)
    lab.server.store.partials.drop(MID)


def wait(seconds: float) -> Action:
    """Let time pass, as the recorder did."""
    return lambda _lab: time.sleep(seconds)


def copy(source: str, *names: str) -> Action:
    """Give a model further names."""

    def act(lab: OllamaLab) -> None:
        for name in names:
            body = {"source": source, "destination": name}
            send(lab.url, {"method": "POST", "path": "/api/copy", "body": body})

    return act


def load(model: str) -> Action:
    """Load a model."""
    request = {"method": "POST", "path": "/api/generate", "body": {"model": model}}

    def act(lab: OllamaLab) -> None:
        send(lab.url, request)

    return act


def break_manifest(lab: OllamaLab) -> None:
    """Put a broken manifest into the store by hand."""
    path = lab.server.store.folder / "manifests/registry.ollama.ai/library/tiny/broken"
    path.write_text("{not json")


def lose_blob(lab: OllamaLab) -> None:
    """Remove the weights of tiny:q8_0 behind the server's back."""
    lab.server.store.drop_blob(QUANTIZED["Q8_0"])


def renew_smol(lab: OllamaLab) -> None:
    """Publish a new version whose model layer is unchanged."""
    publish(lab, "smol", SMOL, 98_362_432, NEW_SMOL)


def renew_tiny(lab: OllamaLab) -> None:
    """Publish a new version that is another file."""
    publish(lab, "tiny", QUANTIZED["Q8_0"], 281_664, {})


_FRESH_TINY = forget("tiny")
_FRESH_MID = forget("mid")

EPISODES: dict[str, Episode] = {
    "01-basic": Episode(registry=NOBODY),
    "02-create-show-copy-delete": Episode(
        setup=(install_all, copy("tiny:q8_0", "tiny:q8b", "tiny:q8c", "tiny:q4_k_s")),
        environment=Environment(no_cloud=True),
        registry=NOBODY,
    ),
    "03-load-generate": Episode(
        setup=(install_all,),
        environment=Environment(no_cloud=True),
        before={
            "ps: 1.5 s after keep_alive 0.5": (wait(0.7),),
            "ps: after the unload": (wait(0.1),),
            "ps: right after generate with keep_alive 0": (wait(0.1),),
        },
    ),
    "08-scheduling-and-more": Episode(
        setup=(install_all,),
        environment=Environment(no_cloud=True),
        before={
            "ps: after a failed load": (load("smollm2:135m"), load("gemma3:270m")),
            "load with the blob missing": (lose_blob,),
            "show of a broken manifest": (break_manifest,),
            "tags after a manifest folder was copied in by hand": (
                copy("tiny:f16", "copiedin:f16"),
            ),
        },
    ),
    "04-pull": Episode(
        setup=(publish_all,),
        before={
            "pull, throttled": (speed(200e6),),
            "pull of a new version (model layer unchanged)": (renew_smol,),
            "pull, fast": (speed(None),),
            "pull without insecure from an http registry": (_FRESH_TINY,),
            "pull with http scheme and insecure": (_FRESH_TINY,),
            "pull with old field name": (_FRESH_TINY,),
            "pull, 307 to another host name": (_FRESH_TINY, order("blob-307", "tiny")),
            "pull, 302 to another host name": (_FRESH_TINY, order("blob-302", "tiny")),
            "pull, 200 without Location": (_FRESH_TINY, order("no-location", "tiny")),
            "pull, registry ignores Range (one part)": (_FRESH_TINY,),
            "pull of 350 MB (4 parts), client disconnects after 1 s": (speed(500e6),),
            "pull, disconnect first": (forget("big"),),
            "pull after SIGTERM and restart": (spoil(BIG),),
            "pull, disconnect, to leave partials": (forget("big"), speed(100e6)),
        },
    ),
    "05-pull-faults": Episode(
        setup=(publish_all,),
        before={
            "pull, manifest 404": (order("manifest-404"),),
            "pull, manifest 500": (order("manifest-500"),),
            "pull, manifest 412": (order("manifest-412"),),
            "pull, manifest 401": (order("manifest-401"),),
            "pull, manifest 401once": (mend(),),
            "pull, manifest badjson": (_FRESH_MID, order("manifest-bad-json")),
            "pull of a tag that is not there": (mend(),),
            "pull, blob 404 (HEAD and GET)": (order("blob-404"),),
            "pull, blob 500 (HEAD and GET)": (order("blob-500"),),
            "pull, corrupt blob": (order("corrupt"),),
            "pull after a corrupt blob": (mend(),),
            "pull, connection cut once at 1/3 of the part": (_FRESH_MID, order("cut-once")),
            "pull, connection reset once at 1/3 of the part": (_FRESH_MID, order("reset-once")),
            "pull after SIGTERM no. 1 and restart": (mend(),),
            "pull with an empty part file on disk": (_FRESH_MID, spoil(MID)),
            "pull after the blob was posted": (_FRESH_MID, put_mid),
            "pull, disk full (20 MB disk, 30 MB model)": (
                _FRESH_MID,
                speed(100e6),
                fill_disk(20_000_000),
            ),
            "pull, manifest takes 25 s": (fill_disk(10**12), _FRESH_MID, speed(None)),
            "pull, a part stalls (no data) for long": (_FRESH_MID, order("stall-once")),
            "pull, HEAD ok but GET of the blob 404": (_FRESH_MID, order("blob-get-404")),
            "pull, HEAD ok but GET of the blob 500": (_FRESH_MID, order("blob-get-404")),
            "pull, range requests answer 500": (_FRESH_MID, order("range-500")),
        },
    ),
    "05-pull-more": Episode(
        setup=(publish_all,),
        before={
            "307 to another path on the same host, final 200 without Location": (
                _FRESH_TINY,
                order("no-location", "tiny"),
            ),
            "cache workflow: pull by host name": (_FRESH_TINY,),
            "pull of a new version while the old one is loaded": (renew_tiny,),
            "client leaves in the verifying phase (350 MB)": (forget("big"),),
        },
    ),
}


# What the fake does not claim, by what a case begins with.
NOT_COVERED = {
    "upload blob": "creating from GGUF files",
    "create f": "creating from GGUF files",
    "create same again": "creating from GGUF files",
    "create not streamed": "creating from GGUF files",
    "create moe": "creating from GGUF files",
    "create embedding model": "creating from GGUF files",
    "create with projector": "creating from GGUF files",
    "create gemma3": "creating from GGUF files",
    "create invalid file name": "creating from GGUF files",
    "create bad quantize": "creating from GGUF files",
    "create quantize q8_0": "quantizing",
    "create quantize Q4_K_M": "quantizing",
    "create quantize q4_K_S": "quantizing",
    "create quantize from files": "quantizing",
    "create quantize, not streamed": "quantizing",
    "load of a truncated GGUF": "broken GGUF files",
    "chat on a truncated GGUF": "broken GGUF files",
    "load of an empty GGUF": "broken GGUF files",
    "show of an empty GGUF": "broken GGUF files",
    "empty body /api/push": "push",
    "bad json /api/push": "push",
    "wrong type /api/push": "push",
    "not an object /api/push": "push",
    "empty object /api/push": "push",
    "missing model /api/push": "push",
    "invalid name /api/push": "push",
    "push ": "push",
    "v1 chat": "the OpenAI endpoints but the list of models",
    "v1 completions": "the OpenAI endpoints but the list of models",
    "v1 embeddings": "the OpenAI endpoints but the list of models",
    "me, ": "ollama.com accounts and recommendations",
    "recommendations": "ollama.com accounts and recommendations",
    "generate logprobs": "log probabilities",
    "prompt longer": "prompts longer than the context",
    "cors with OLLAMA_ORIGINS": "another environment; has a test of its own",
    "load with OLLAMA_CONTEXT_LENGTH": "another environment; has a test of its own",
    "ps: with those env": "another environment; has a test of its own",
}


def not_covered(case: str) -> str | None:
    """Tell what an exchange is about that the fake does not claim."""
    return next((what for start, what in NOT_COVERED.items() if case.startswith(start)), None)


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
        pace=FAST,
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
        print(f"{name}: {len(good)} of {len(tried)} agree ({_why_not(exchanges)})")  # noqa: T201
        for outcome in tried:
            if outcome.differences:
                print(f"  {outcome.case}: {outcome.differences}")  # noqa: T201
    print(f"in all {agreed} of {total}")  # noqa: T201


def _why_not(exchanges: list[dict[str, Any]]) -> str:
    reasons = Counter(
        not_covered(each["case"]) or "not one exchange"
        for each in exchanges
        if not_covered(each["case"]) or not is_replayable(each)
    )
    return "left out: " + ", ".join(f"{count} {reason}" for reason, count in reasons.items())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
