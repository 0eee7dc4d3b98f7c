"""The demo lab: which machines there are, what is installed on them, and what is loaded at start.

The contexts of a machine are those at which every model of the registry either loads there or is
refused for a real reason. Of two cards that share a model, 16384 tokens and more were recorded; of
a model that lies partly on the host, hardly anything, so that rog and tower have the engine's fit
off and say "out of memory" instead. The registry's models ask for a batch of 512 for the same
reason.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from workers.simlab.machine import GIB, Machine
from workers.simlab.memory import MIB

MODEL_PARAMETERS: dict[str, Any] = {"num_batch": 512, "stop": ["<|im_start|>", "<|im_end|>"]}
REGISTRY_BYTES_PER_S = 80e6
FOREVER = -1


@dataclass(frozen=True, kw_only=True)
class StartLoad:
    """A model that is loaded at start and stays. ``options`` as in ``/api/generate``."""

    model: str
    options: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class MachinePlan:
    """A machine of the lab as it is bought and set up.

    ``environment`` is that of its Ollama server, ``further`` those of further ones; ``contexts``
    are tokens per slot.
    """

    slug: str
    kind: Literal["linux", "windows", "mac"] = "linux"
    version: str = "0.32.15"
    cards: tuple[str, ...] = ()
    ram_gib: int = 64
    disk_gib: int = 1000
    disk_used_gib: int = 260
    desktop_mib: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    further: tuple[Mapping[str, str], ...] = ()
    contexts: tuple[int, ...]
    installed: tuple[str, ...] = ()
    loads: tuple[StartLoad, ...] = ()

    @property
    def environments(self) -> tuple[Mapping[str, str], ...]:
        """Environments of all servers."""
        return (self.environment, *self.further)

    def build(self, clock: Callable[[], float]) -> Machine:
        """Make the machine, with nothing installed and nothing loaded."""
        machine = Machine(
            slug=self.slug,
            kind=self.kind,
            version=self.version,
            cards=self.cards,
            fit=self.environment.get("LLAMA_ARG_FIT") != "off",
            ram_bytes=self.ram_gib * GIB,
            disk_bytes=self.disk_gib * GIB,
            disk_free_bytes=(self.disk_gib - self.disk_used_gib) * GIB,
            clock=clock,
        )
        if self.desktop_mib:
            machine.gpus[0].desktop_bytes = self.desktop_mib * MIB
        return machine


def _load(model: str, context: int, **options: int) -> StartLoad:
    return StartLoad(model=model, options={"num_ctx": context, "num_batch": 512, **options})


DEMO = (
    MachinePlan(
        slug="rog",
        cards=("rtx-3090", "rtx-3090"),
        desktop_mib=412,
        environment={"OLLAMA_CONTEXT_LENGTH": "16384", "LLAMA_ARG_FIT": "off"},
        contexts=(16384, 32768),
        installed=("gemma3:12b", "gpt-oss:20b", "llama3.1:8b", "qwen3:30b-a3b", "qwen3:8b"),
        loads=(
            _load("qwen3:30b-a3b", 16384, main_gpu=1),
            _load("gemma3:12b", 16384, main_gpu=0),
            _load("llama3.1:8b", 16384, main_gpu=0),
        ),
    ),
    MachinePlan(
        slug="tower",
        cards=("rtx-4070",),
        ram_gib=32,
        disk_gib=500,
        disk_used_gib=310,
        desktop_mib=894,
        environment={"OLLAMA_CONTEXT_LENGTH": "8192", "LLAMA_ARG_FIT": "off"},
        contexts=(8192,),
        installed=("gemma3:4b", "llama3.1:8b", "phi4:14b"),
        loads=(_load("gemma3:4b", 8192), _load("phi4:14b", 8192, num_gpu=25)),
    ),
    MachinePlan(
        slug="oldie",
        version="0.24.0",
        cards=("tesla-p40", "tesla-p40"),
        ram_gib=128,
        disk_gib=2000,
        disk_used_gib=900,
        environment={"OLLAMA_CONTEXT_LENGTH": "16384"},
        contexts=(16384, 32768),
        installed=("llama3.3:70b-instruct-q3_K_M", "qwen2.5:14b"),
        loads=(_load("llama3.3:70b-instruct-q3_K_M", 16384),),
    ),
    MachinePlan(
        slug="minibox",
        ram_gib=32,
        disk_gib=256,
        disk_used_gib=190,
        environment={"OLLAMA_CONTEXT_LENGTH": "4096"},
        contexts=(4096, 8192),
        installed=("llama3.2:1b", "qwen3:0.6b"),
        loads=(_load("llama3.2:1b", 4096),),
    ),
    MachinePlan(
        slug="studio",
        kind="mac",
        cards=("m2-max",),
        environment={"OLLAMA_CONTEXT_LENGTH": "32768"},
        contexts=(4096, 8192, 16384, 32768),
        installed=("gpt-oss:20b", "qwen3:4b"),
        loads=(_load("gpt-oss:20b", 32768),),
    ),
)
