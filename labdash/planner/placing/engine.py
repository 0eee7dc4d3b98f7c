"""What an Ollama server does with memory, by its version and its environment.

These settings belong to the server: a request cannot change them, a restart can.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labdash.planner.errors import PlannerError
from labdash.planner.lab import Instance, Variant
from labdash.planner.ollama import GIB, LLAMA_SERVER_SINCE, MIB, Version, parse_version, slots
from labdash.planner.settings import CACHE_TYPES

# llama.cpp, --fit-target; also what Ollama adds to a projector's bytes where the variable is unset.
FIT_TARGET_MIB = 1024
# Ollama up to 0.24, ml/device.go: what it keeps free of a GPU beside OLLAMA_GPU_OVERHEAD.
OLD_RESERVE_MIB = 457
# The cache types that Ollama's own engines admitted.
OLD_CACHE_TYPES = ("f16", "q8_0", "q4_0")
LOADED_PER_GPU = 3
MOST_SLOTS = 256
# More blocks than any model has.
ALL_BLOCKS = 10_000
# Go's strconv.ParseBool; Ollama takes any other text that is set as true.
FALSE = frozenset(("0", "f", "false"))
# llama.cpp, common/arg.cpp: what switches a flag off by the environment.
OFF = frozenset(("off", "disabled", "0", "false"))
ON = frozenset(("on", "enabled", "1", "true"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """``old`` is an engine of Ollama's own, up to 0.24. ``parallel`` is as the server allows it.

    ``targets_mib`` is what LLAMA_ARG_FIT_TARGET gives, empty where it is unset. ``fit`` is False
    where the engine was told not to keep a margin. ``gpu_overhead_bytes`` counts in old ones only.
    ``kept_blocks`` is how many blocks leave their experts to the host, from the first one on.
    ``tensor_split`` are the shares of the GPUs where it was told them.
    """

    build: int
    old: bool = False
    kv_type: str = "f16"
    flash_attn: bool = True
    parallel: int = 1
    fit: bool = True
    targets_mib: tuple[int, ...] = ()
    spread: bool = False
    most_loaded: int = LOADED_PER_GPU
    gpu_overhead_bytes: int = 0
    kept_blocks: int = 0
    tensor_split: tuple[float, ...] = ()

    def slots_for(self, variant: Variant) -> int:
        """Tell how many requests a model serves at once."""
        return slots(variant.model.shape.arch, self.parallel, embedding=variant.embedding)

    def target_bytes(self, variant: Variant, position: int) -> int:
        """Tell what the engine leaves free of a GPU that it sees, without a projector."""
        vague = self.old or not self.fit or self.targets_mib
        if variant.projector_bytes and not vague:
            return variant.projector_bytes + GIB
        return self.plain_margin_bytes(position)

    def plain_margin_bytes(self, position: int) -> int:
        """Tell what stays free of a GPU beside a model without a projector."""
        if self.old:
            return OLD_RESERVE_MIB * MIB + self.gpu_overhead_bytes
        if not self.fit:
            return 0
        return (self._target_mib(position) if self.targets_mib else FIT_TARGET_MIB) * MIB

    def margin_bytes(self, variant: Variant, position: int) -> int:
        """Tell what stays free of that when the projector, too, is loaded: on the first GPU."""
        target = self.target_bytes(variant, position)
        vague = self.old or not self.fit or self.targets_mib
        return target if vague or position else target - variant.projector_bytes

    def _target_mib(self, position: int) -> int:
        given = self.targets_mib
        if len(given) == 1:
            return given[0]
        return given[position] if position < len(given) else FIT_TARGET_MIB


def rules_of(instance: Instance) -> Rules:
    """Read what a server does. A version that nobody knows is taken as the newest."""
    env, old = instance.env, is_old(instance.version)
    flash = is_true(env, "OLLAMA_FLASH_ATTENTION", default=True)
    kinds = OLD_CACHE_TYPES if old else CACHE_TYPES
    kv_type = _text(env, "OLLAMA_KV_CACHE_TYPE").lower()
    automatic = LOADED_PER_GPU * max(1, len(instance.gpus))
    return Rules(
        build=instance.build,
        old=old,
        kv_type=kv_type if flash and kv_type in kinds else "f16",
        flash_attn=flash,
        parallel=min(_count(env, "OLLAMA_NUM_PARALLEL") or 1, MOST_SLOTS),
        fit=old or _text(env, "LLAMA_ARG_FIT").lower() not in OFF,
        targets_mib=() if old else _targets(env),
        spread=is_true(env, "OLLAMA_SCHED_SPREAD", default=False),
        most_loaded=_count(env, "OLLAMA_MAX_LOADED_MODELS") or automatic,
        gpu_overhead_bytes=_count(env, "OLLAMA_GPU_OVERHEAD") if old else 0,
        kept_blocks=0 if old else _kept_blocks(env),
        tensor_split=() if old else _shares(env),
    )


def asked_ctx(instance: Instance) -> int:
    """Read the context that a server gives where a request names none, 0 where it was told none."""
    return _count(instance.env, "OLLAMA_CONTEXT_LENGTH")


def is_old(version: str | None) -> bool:
    """Tell whether a release runs an engine of its own. A build from source is taken as new."""
    try:
        parsed: Version = parse_version(version or "")
    except PlannerError:
        return False
    return parsed != (0, 0, 0) and parsed < LLAMA_SERVER_SINCE


def _text(env: Mapping[str, str], key: str) -> str:
    """Read a variable as Ollama does: without the spaces and quotes around it."""
    return env.get(key, "").strip().strip("\"'").strip()


def is_true(env: Mapping[str, str], key: str, *, default: bool) -> bool:
    """Read a switch; one that is set to nothing is as usual."""
    text = _text(env, key).lower()
    return text not in FALSE if text else default


def _count(env: Mapping[str, str], key: str) -> int:
    """Read a number, 0 where there is none: what Ollama cannot read it leaves out."""
    text = _text(env, key)
    return (
        int(text)
        if text.isascii() and text.isdigit() and len(text) <= len("18446744073709551615")
        else 0
    )


def _kept_blocks(env: Mapping[str, str]) -> int:
    """Read of how many blocks the experts stay on the host."""
    if _text(env, "LLAMA_ARG_CPU_MOE").lower() in ON:
        return ALL_BLOCKS
    return min(_count(env, "LLAMA_ARG_N_CPU_MOE"), ALL_BLOCKS)


def _shares(env: Mapping[str, str]) -> tuple[float, ...]:
    """Read how the layers are shared out. llama.cpp parts the numbers at commas and slashes."""
    parts = _text(env, "LLAMA_ARG_TENSOR_SPLIT").replace("/", ",").split(",")
    try:
        shares = tuple(float(part) for part in parts)
    except ValueError:
        return ()
    return shares if all(0 <= each < math.inf for each in shares) and sum(shares) > 0 else ()


def _targets(env: Mapping[str, str]) -> tuple[int, ...]:
    parts: Sequence[str] = [part.strip() for part in _text(env, "LLAMA_ARG_FIT_TARGET").split(",")]
    known = all(
        part.isascii() and part.isdigit() and len(part) <= len("18446744") for part in parts
    )
    return tuple(map(int, parts)) if known else ()
