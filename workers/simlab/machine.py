"""A simulated machine: where the fake Ollama servers meet the simulated hardware.

The fake server decides *when* a model is loaded or evicted; the machine decides *where* it goes,
what it takes there, and whether it fits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
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


class Machine:
    """One machine of the lab. Not safe to use from several threads."""

    def __init__(
        self, *, slug: str, kind: str, version: str, instances: int = 1, disk_free_bytes: int
    ) -> None:
        self.slug = slug
        self.kind = kind
        self.version = version
        """Of all Ollama servers on this machine."""
        self.instances = instances
        self.disk_free_bytes = disk_free_bytes
        self._pid = 2000

    @property
    def gpu_count(self) -> int:
        """GPUs that a server sees, the unified one of a Mac included."""
        return 0

    @property
    def gpu_total_bytes(self) -> int:
        """Memory of all GPUs together, by which Ollama picks its default context."""
        return 0

    def load(self, request: LoadRequest) -> Loaded:
        """Place the model and take its memory, or raise ``LoadRefused``."""
        self._pid += 1
        return Loaded(
            pid=self._pid,
            size_bytes=0,
            size_vram_bytes=0,
            context_length=request.context_length,
            bytes_by_gpu=(),
            ram_bytes=0,
            gpu_layers=0,
            layers=0,
        )

    def unload(self, pid: int) -> None:
        """End a process and give its memory back. An unknown ``pid`` is ignored."""

    def must_evict(self, request: LoadRequest) -> bool:
        """Whether this version would first evict another model (its 80 % rule) for this load.

        True also where nothing is left to evict; the server then loads all the same.
        """
        return False

    def load_s(self, request: LoadRequest) -> float:
        """Seconds that a load takes: reading the file from disk."""
        return 0.5

    def tokens_per_s(self, pid: int) -> float:
        """Generation speed of a loaded model."""
        return 20.0

    @contextmanager
    def working(self, pid: int) -> Iterator[None]:
        """Keep the devices of ``pid`` busy while the block runs (a request being answered)."""
        yield

    def take_disk(self, size_bytes: int) -> None:
        """Use that much of the disk, or raise ``NoSpace`` and use nothing."""
        if size_bytes > self.disk_free_bytes:
            raise NoSpace(f"no space left on device: {self.slug}")
        self.disk_free_bytes -= size_bytes

    def give_disk(self, size_bytes: int) -> None:
        """Give back what ``take_disk`` took."""
        self.disk_free_bytes += size_bytes
