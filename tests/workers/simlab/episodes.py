"""How whole recordings are replayed: the state before them, and what happens between."""

from dataclasses import dataclass, field, replace

from tests.simlab import FAST, OllamaLab
from tests.workers.simlab.actions import (
    Action,
    blink,
    break_manifest,
    copy,
    fill_disk,
    forget,
    generating,
    kill_runners,
    load,
    loading,
    lose_blob,
    mend,
    order,
    put_mid,
    renew_smol,
    renew_tiny,
    speed,
    spoil,
    transferring,
    wait,
    when,
)
from tests.workers.simlab.recorded import BIG, MID, install_all, publish_all
from workers.simlab.ollama.settings import Environment, Pace

# An address at which nothing listens.
NOBODY = "http://127.0.0.1:9"


@dataclass(frozen=True, kw_only=True)
class Episode:
    """How one file of recordings is replayed. ``before``: by case, what happens first."""

    setup: tuple[Action, ...] = ()
    environment: Environment = field(default_factory=Environment)
    before: dict[str, tuple[Action, ...]] = field(default_factory=dict)
    registry: str | None = None
    """Where ``registry.local`` really is; ``None``: the lab's own registry."""
    pace: Pace = FAST


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
    "05-pull-registry-down": Episode(
        setup=(publish_all,),
        before={
            "pull, registry down": (OllamaLab.stop_registry,),
            "pull, registry goes down after 1 s and stays down": (
                OllamaLab.start_registry,
                speed(30e6),
                when(transferring, OllamaLab.stop_registry),
            ),
            "pull after the registry is back": (OllamaLab.start_registry,),
            "pull, registry down from 1.0 s to 3.0 s": (
                _FRESH_MID,
                when(transferring, blink),
            ),
            "pull after SIGTERM no. 2 and restart": (speed(None),),
            "pull after SIGTERM no. 4 and restart": (forget("big"), spoil(BIG)),
            "pull after SIGKILL no. 5 and restart": (forget("big"),),
        },
    ),
    "08-runner-killed": Episode(
        setup=(install_all,),
        before={
            "streamed generation, its llama-server is killed (SIGKILL) after 0.8 s": (
                when(generating, kill_runners),
            ),
            "generation not streamed, its llama-server is killed after 0.8 s": (
                when(generating, kill_runners),
            ),
            "ps: idle runner killed 0.5 s ago": (kill_runners,),
            "load of gemma3, its llama-server is killed while loading": (
                when(loading, kill_runners),
            ),
            "ps: after the failed load": (load("smollm2:135m"),),
        },
        pace=replace(FAST, load_factor=3),
    ),
    "02c-create-cancel": Episode(setup=(install_all,), registry=NOBODY),
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
    "create quantize q4_K_S": "quantizing",
    "create quantize from files": "quantizing",
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
    "quantize": "quantizing",
    "generate logprobs": "log probabilities",
    "prompt longer": "prompts longer than the context",
    "cors with OLLAMA_ORIGINS": "another environment; has a test of its own",
    "load with OLLAMA_CONTEXT_LENGTH": "another environment; has a test of its own",
    "3 s later: was it created": "quantizing",
    "tags: how it is listed": "an answer that the recorder kept only in part",
    "ps: with those env": "another environment; has a test of its own",
}


def not_covered(case: str) -> str | None:
    """Tell what an exchange is about that the fake does not claim."""
    return next((what for start, what in NOT_COVERED.items() if case.startswith(start)), None)
