"""Options of a load: their types, how they are merged, and which of them reload a model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from workers.simlab.machine import LoadRequest, Machine
from workers.simlab.ollama.settings import Environment
from workers.simlab.ollama.weights import Weights

_INTEGERS = (
    "num_keep",
    "seed",
    "num_predict",
    "top_k",
    "repeat_last_n",
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "draft_num_predict",
)
_FLOATS = (
    "top_p",
    "min_p",
    "typical_p",
    "temperature",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
)
_TYPES = (
    dict.fromkeys(_INTEGERS, "integer")
    | dict.fromkeys(_FLOATS, "float32")
    | {"use_mmap": "boolean", "stop": "array"}
)
_PYTHON: dict[str, tuple[type, ...]] = {
    "integer": (int, float),
    "float32": (int, float),
    "boolean": (bool,),
    "array": (list,),
}

GIB = 2**30
# Total GPU memory from which on a default context applies, the largest first.
_CONTEXT_TIERS = ((47 * GIB, 262144), (23 * GIB, 32768), (0, 4096))
_MIN_CONTEXT, _MIN_VISION_CONTEXT = 4, 2048
# Up to which context (all slots together) an automatic batch is chosen.
_BATCH_STEPS = ((4096, 512), (32768, 1024), (2**63, 2048))
_OLD_BATCH, _MAX_EMBED_BATCH = 512, 2048


class OptionError(ValueError):
    """An option is of the wrong type; the message goes to the client with status 500."""


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """The options that shape a load; ``None``: left to the engine."""

    num_ctx: int
    num_batch: int | None = None
    num_gpu: int = -1
    main_gpu: int | None = None
    use_mmap: bool | None = None
    num_thread: int = 0
    draft_num_predict: int = 0
    shift: bool = True

    def needs_reload(self, loaded: "LoadOptions") -> bool:
        """Whether a model loaded otherwise has to be loaded again for these options."""
        if self.num_gpu >= 0 and self.num_gpu != loaded.num_gpu:
            return True
        return replace(self, num_gpu=-1) != replace(loaded, num_gpu=-1)


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check types as Go does: fractions are cut, null and unknown names pass. OptionError."""
    result: dict[str, Any] = {}
    for key, value in options.items():
        kind = _TYPES.get(key)
        if kind is None or value is None:
            continue
        if not isinstance(value, _PYTHON[kind]) or (isinstance(value, bool) != (kind == "boolean")):
            raise OptionError(f'option "{key}" must be of type {kind}')
        result[key] = int(value) if isinstance(value, float) and kind == "integer" else value
    return result


def load_options(
    options: Mapping[str, Any],
    *,
    weights: Weights,
    machine: Machine,
    environment: Environment,
    shift: bool = True,
) -> LoadOptions:
    """Settle what a load is asked to do; ``options`` are the model's and the request's, checked."""
    default = environment.context_length or _default_context(machine, environment)
    least = _MIN_VISION_CONTEXT if "vision" in weights.capabilities else _MIN_CONTEXT
    context = min(max(options.get("num_ctx", default), least), weights.context_length)
    return LoadOptions(
        num_ctx=context,
        num_batch=options.get("num_batch"),
        num_gpu=max(options.get("num_gpu", -1), -1),
        main_gpu=options.get("main_gpu"),
        use_mmap=options.get("use_mmap"),
        num_thread=options.get("num_thread", 0),
        draft_num_predict=options.get("draft_num_predict", 0),
        shift=shift,
    )


def load_request(
    options: LoadOptions,
    *,
    name: str,
    weights: Weights,
    machine: Machine,
    environment: Environment,
) -> LoadRequest:
    """Turn options into what the machine is to start."""
    is_embedding = "embedding" in weights.capabilities
    parallel = 1 if is_embedding else environment.num_parallel
    return LoadRequest(
        model=weights.model,
        quant=weights.quant,
        context_length=options.num_ctx,
        parallel=parallel,
        batch=options.num_batch or _auto_batch(machine, options, parallel, embed=is_embedding),
        num_gpu=options.num_gpu,
        main_gpu=options.main_gpu,
        kv_type=environment.kv_cache_type,
        flash_attention=environment.flash_attention,
        name=name,
        blob_digest=weights.digest,
        server=environment.server,
        gpus=environment.gpus,
    )


def _auto_batch(machine: Machine, options: LoadOptions, parallel: int, *, embed: bool) -> int:
    if machine.version.startswith("0.2"):
        return _OLD_BATCH
    if embed:
        return min(_MAX_EMBED_BATCH, options.num_ctx)
    total = options.num_ctx * parallel
    return next(batch for limit, batch in _BATCH_STEPS if total <= limit)


def _default_context(machine: Machine, environment: Environment) -> int:
    total = machine.total_bytes(environment.gpus)
    return next(context for limit, context in _CONTEXT_TIERS if total >= limit)
