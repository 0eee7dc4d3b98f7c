"""The models that the simulated registry offers: tables made by ``tests/make_simlab_data.py``."""

import gzip
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, kw_only=True, slots=True)
class SimTensor:
    """One tensor as GGUF has it: ``shape[0]`` is the length of a row, ``type`` as in ``Q4_K``."""

    name: str
    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class SimVariant:
    """One file of a model. ``file_type`` is GGUF's ``general.file_type``."""

    quant: str
    file_type: int
    file_bytes: int
    tensors: tuple[SimTensor, ...]


@dataclass(frozen=True, kw_only=True)
class SimModel:
    """A model with all its files. ``metadata`` holds the GGUF keys that all files share."""

    key: str
    architecture: str
    parameter_count: int
    block_count: int
    context_length: int
    embedding_length: int
    capabilities: tuple[str, ...]
    license: str
    metadata: dict[str, Any]
    variants: dict[str, SimVariant]
    compute: tuple[dict[str, Any], ...]
    """Recorded compute buffers, one entry a series (see ``memory.py``)."""

    @property
    def parameter_size(self) -> str:
        """The count as Ollama shows it: ``8.0B``, ``751.63M``."""
        if self.parameter_count >= 10**9:
            return f"{self.parameter_count / 10**9:.1f}B"
        return f"{self.parameter_count / 10**6:.2f}M"


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A name of the registry (``llama3.1:8b``), and the file that it stands for."""

    name: str
    model: str
    quant: str


@cache
def models() -> dict[str, SimModel]:
    """Give every model by its key, such as ``llama-3.1-8b``."""
    return {path.name.removesuffix(".json.gz"): _read(path) for path in sorted(DATA.glob("*.gz"))}


@cache
def offers() -> tuple[Offer, ...]:
    """Give every name that the registry offers, as Ollama spells it."""
    entries = json.loads((DATA / "offers.json").read_text())
    return tuple(Offer(name=name, model=model, quant=quant) for name, model, quant in entries)


def _read(path: Path) -> SimModel:
    data = json.loads(gzip.decompress(path.read_bytes()))
    shapes = [(name, tuple(shape)) for name, shape in data.pop("tensors")]
    variants = {entry["quant"]: _variant(entry, shapes) for entry in data.pop("variants")}
    compute = tuple(data.pop("compute"))
    data["capabilities"] = tuple(data["capabilities"])
    return SimModel(**data, variants=variants, compute=compute)


def _variant(entry: dict[str, Any], shapes: list[tuple[str, tuple[int, ...]]]) -> SimVariant:
    types = entry.pop("types")
    tensors = tuple(
        SimTensor(name=name, type=kind, shape=shape)
        for (name, shape), kind in zip(shapes, types, strict=True)
    )
    return SimVariant(**entry, tensors=tensors)
