"""What is asked of a simulated machine, and what it answers."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LoadRequest:
    """One ``llama-server`` to start, with every option settled by the server that starts it."""

    model: str
    """Key of ``catalog.models()``."""
    quant: str
    """Key of that model's ``variants``."""
    context_length: int
    """Tokens per slot."""
    parallel: int = 1
    batch: int = 512
    """Both ``-b`` and ``-ub``, as Ollama passes them."""
    num_gpu: int = -1
    """Negative: the engine chooses. Else the number of layers, the output being the last one."""
    main_gpu: int | None = None
    kv_type: str = "f16"
    flash_attention: bool = True
    name: str
    """The name by which the model was asked for; labels the process."""
    blob_digest: str
    """``sha256:…`` of the weights."""
    server: str = "ollama"
    """The server that asks, as the node's worker calls it."""
    gpus: tuple[int, ...] | None = None
    """GPUs that the server sees, in the order in which it counts them; ``None`` for all."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model that runs. The two sizes are what ``/api/ps`` of that version would say."""

    pid: int
    size_bytes: int
    size_vram_bytes: int
    context_length: int
    bytes_by_gpu: tuple[int, ...]
    """What each GPU of the machine really gave, the CUDA context included."""
    ram_bytes: int
    gpu_layers: int
    layers: int


class LoadRefused(Exception):  # noqa: N818 - says what happened, which need not be an error
    """A load that fails. ``text`` is what the server answers with HTTP ``status``."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class NoSpace(Exception):  # noqa: N818 - the state of a disk
    """The model store's disk has not that much room."""
