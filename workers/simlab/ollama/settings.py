"""How one fake server is set: its environment, its pace, and which real faults it shows."""

from dataclasses import dataclass
from itertools import takewhile

from workers.simlab.ollama.gotime import FOREVER_NS, SECOND_NS, parse_duration


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The variables of a real server that the fake one heeds, read once at its start.

    ``server`` is how the node's worker calls it. ``gpus`` are those that it sees, ``None`` for all.
    """

    host: str = "127.0.0.1"
    keep_alive_ns: int = 300 * SECOND_NS
    context_length: int = 0
    num_parallel: int = 1
    max_loaded_models: int = 0
    max_queue: int = 512
    flash_attention: bool = True
    kv_cache_type: str = "f16"
    no_prune: bool = False
    no_cloud: bool = False
    origins: tuple[str, ...] = ()
    gpus: tuple[int, ...] | None = None
    server: str = "ollama"

    @staticmethod
    def read(values: dict[str, str], *, server: str = "ollama") -> "Environment":
        """Read ``OLLAMA_…`` variables; others are ignored. Raises ValueError."""
        get = {key.removeprefix("OLLAMA_"): value for key, value in values.items()}.get
        return Environment(
            host=get("HOST", "127.0.0.1").partition(":")[0],
            keep_alive_ns=_keep_alive(get("KEEP_ALIVE", "5m")),
            context_length=int(get("CONTEXT_LENGTH", "0")),
            num_parallel=int(get("NUM_PARALLEL", "1")),
            max_loaded_models=int(get("MAX_LOADED_MODELS", "0")),
            max_queue=int(get("MAX_QUEUE", "512")),
            flash_attention=_flag(get("FLASH_ATTENTION", "1")),
            kv_cache_type=get("KV_CACHE_TYPE") or "f16",
            no_prune=_flag(get("NOPRUNE", "0")),
            no_cloud=_flag(get("NO_CLOUD", "0")),
            origins=tuple(each for each in get("ORIGINS", "").split(",") if each),
            gpus=_visible(values.get("CUDA_VISIBLE_DEVICES")),
            server=server,
        )


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long things take, seconds unless the name says otherwise. Tests make them short."""

    progress_s: float = 0.06
    verify_bytes_per_s: float = 1.5e9
    retry_s: tuple[float, ...] = (1, 2, 4, 8, 16, 32)
    stall_s: float = 30
    direct_url_s: float = 30
    load_factor: float = 1
    quantize_bytes_per_s: float = 150e6
    unload_s: float = 0.03


@dataclass(frozen=True, kw_only=True)
class Quirks:
    """Faults that real servers have.

    ``shared_pull``: see ``download.Downloads``. ``ps_delay_s``: how long ``/api/ps`` waits for the
    scheduler, as it does while an unload looks at the GPUs.
    """

    shared_pull: bool = True
    ps_delay_s: float = 0


def _keep_alive(text: str) -> int:
    try:
        length = int(text) * SECOND_NS
    except ValueError:
        length = parse_duration(text)
    return FOREVER_NS if length < 0 else length


def _visible(text: str | None) -> tuple[int, ...] | None:
    """Read numbers of GPUs as CUDA does: what comes after a bad one is not seen."""
    if text is None:
        return None
    numbers = takewhile(str.isdecimal, (part.strip() for part in text.split(",")))
    return tuple(map(int, numbers))


def _flag(text: str) -> bool:
    return text.strip().lower() not in {"", "0", "false"}
