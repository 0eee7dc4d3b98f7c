"""Ten labs, and what each is to serve: contexts and splits whose buffers were recorded."""

from collections.abc import Callable
from dataclasses import dataclass

from labdash.planner.lab import Deployment
from tests.planning.variants import wanted
from workers.simlab.scenario import MachinePlan


@dataclass(frozen=True)
class Planned:
    """``forms`` are those that the plan is to have, each at least once."""

    name: str
    machines: tuple[MachinePlan, ...]
    deployments: Callable[[], tuple[Deployment, ...]]
    forms: frozenset[str]


def machine(slug: str, *cards: str, **facts: object) -> MachinePlan:
    """Return a machine on which nothing is loaded at start."""
    return MachinePlan(slug=slug, cards=cards, contexts=(8192,), **facts)  # type: ignore[arg-type]


OLD = "0.24.0"

TWINS = Planned(
    "twins",
    (machine("rog", "rtx-3090", "rtx-3090", desktop_mib=412, installed=("qwen3:8b",)),),
    lambda: (
        wanted("qwen3:30b-a3b", ctx_floor=8192, ctx_wish=16384),  # experts
        wanted("gemma3:12b", ctx_floor=8192, ctx_wish=16384),  # a sliding window
        wanted("qwen3:8b", residency="on-demand"),
    ),
    frozenset({"gpu"}),
)
UNLIKE = Planned(
    "unlike cards",
    (machine("tower", "rtx-3090", "rtx-4070", desktop_mib=894),),
    lambda: (
        wanted("qwen3:30b-a3b", ctx_floor=16384, ctx_wish=16384, priority=1),
        wanted("gemma3:4b", ctx_wish=16384),
        wanted("qwen3:4b", ctx_floor=4096, ctx_wish=8192),
    ),
    frozenset({"gpu"}),
)
SPREAD = Planned(
    "spread over unlike cards",
    (machine("tower", "rtx-3090", "rtx-4070"),),
    lambda: (wanted("mixtral:8x7b", ctx_floor=16384, ctx_wish=32768),),
    frozenset({"gpus"}),
)
PARTIAL = Planned(
    "partly on the CPU",
    (machine("tower", "rtx-4070", ram_gib=32, desktop_mib=894),),
    lambda: (wanted("phi4:14b", offload_allowed=True),),
    frozenset({"partial"}),
)
QUANTS = Planned(
    "three quants",
    (
        machine("rog", "rtx-3090", desktop_mib=412),
        machine("tower", "rtx-4070", ram_gib=32, desktop_mib=894),
    ),
    lambda: (
        wanted(("llama3.1:8b-instruct-fp16", "llama3.1:8b-instruct-q8_0", "llama3.1:8b")),
        wanted(("qwen2.5:7b-instruct-q8_0", "qwen2.5:7b"), name="coder"),
        wanted("llama3.2:1b-instruct-q4_K_M", name="small"),
    ),
    frozenset({"gpu"}),
)
MAC = Planned(
    "Mac",
    (machine("studio", "m2-max", kind="mac"),),
    lambda: (
        wanted("gpt-oss:20b", ctx_floor=8192, ctx_wish=32768),
        wanted("qwen3:4b", ctx_floor=8192, ctx_wish=16384),
    ),
    frozenset({"gpu"}),
)
OLDIE = Planned(
    "old engine",
    (machine("oldie", "tesla-p40", "tesla-p40", version=OLD, ram_gib=128),),
    # Of old engines' own buffers nothing was recorded. Over two cards they are as later ones.
    lambda: (wanted("llama3.3:70b-instruct-q3_K_M", ctx_floor=16384, ctx_wish=16384),),
    frozenset({"gpus"}),
)
NO_GPU = Planned(
    "no GPU",
    (machine("minibox", ram_gib=32),),
    lambda: (
        wanted("llama3.2:1b", ctx_floor=4096, ctx_wish=8192, offload_allowed=True),
        wanted("qwen3:0.6b", ctx_floor=4096, ctx_wish=8192, offload_allowed=True),
    ),
    frozenset({"cpu"}),
)
TWO_SERVERS = Planned(
    "two servers on one machine",
    (
        machine(
            "rog",
            "rtx-3090",
            "rtx-3090",
            environment={"CUDA_VISIBLE_DEVICES": "0"},
            further=({"CUDA_VISIBLE_DEVICES": "1", "OLLAMA_KV_CACHE_TYPE": "q8_0"},),
        ),
    ),
    lambda: (
        wanted("qwen3:8b", name="chat", replicas=2),
        wanted("qwen3:8b-q8_0", name="long", ctx_floor=32768, ctx_wish=32768, kv_types=("q8_0",)),
    ),
    frozenset({"gpu"}),
)
SLOTS = Planned(
    "four slots",
    (
        machine("rog", "rtx-3090", environment={"OLLAMA_NUM_PARALLEL": "4"}),
        machine("tower", "rtx-4070", desktop_mib=894),
    ),
    lambda: (
        wanted("llama3.2:1b", name="many", ctx_floor=2048, ctx_wish=8192, parallel=4),
        wanted("gemma3:12b", name="eyes", ctx_floor=2048, ctx_wish=8192, parallel=4),
        wanted("qwen3:8b", name="one", parallel=1),
    ),
    frozenset({"gpu"}),
)

LABS = (TWINS, UNLIKE, SPREAD, PARTIAL, QUANTS, MAC, OLDIE, NO_GPU, TWO_SERVERS, SLOTS)
