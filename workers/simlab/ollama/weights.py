"""What a model file holds, as the fake server must tell it: facts of its GGUF header."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from workers.simlab.catalog import SimModel, SimVariant, models


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One model file. ``model`` and ``quant`` are the keys under which the machine knows it."""

    digest: str
    size_bytes: int
    model: str
    quant: str
    family: str
    parameter_size: str
    context_length: int
    embedding_length: int
    capabilities: tuple[str, ...]
    info: Mapping[str, Any]
    tensors: tuple[dict[str, Any], ...]
    projector_info: Mapping[str, Any] = field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        """Give the config that a manifest carries for this file."""
        return {
            "model_format": "gguf",
            "model_family": self.family,
            "model_families": [self.family],
            "model_type": self.parameter_size,
            "file_type": self.quant,
            "architecture": "amd64",
            "os": "linux",
        }


def blob_digest(model: str, quant: str) -> str:
    """Name the blob of a catalog file: stable, and the same for all names that stand for it."""
    return f"sha256:{sha256(f'simlab {model} {quant}'.encode()).hexdigest()}"


def from_catalog(model: SimModel, variant: SimVariant) -> Weights:
    """Describe a file of the catalog."""
    return Weights(
        digest=blob_digest(model.key, variant.quant),
        size_bytes=variant.file_bytes,
        model=model.key,
        quant=variant.quant,
        family=model.architecture,
        parameter_size=model.parameter_size,
        context_length=model.context_length,
        embedding_length=model.embedding_length,
        capabilities=model.capabilities,
        info=_info(model, variant),
        tensors=tuple(
            {"name": tensor.name, "type": tensor.type, "shape": list(tensor.shape)}
            for tensor in variant.tensors
        ),
    )


def _info(model: SimModel, variant: SimVariant) -> dict[str, Any]:
    return dict(model.metadata) | {
        "general.file_type": variant.file_type,
        "general.parameter_count": model.parameter_count,
        "general.quantization_version": 2,
        # Arrays as in a real header, which a plain /api/show empties; these are cut short.
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>"],
        "tokenizer.ggml.token_type": [2, 3, 3],
        "tokenizer.ggml.merges": ["a b", "b c"],
    }


def catalog_weights() -> dict[str, Weights]:
    """Give every file of the catalog by its digest."""
    return by_digest(
        from_catalog(model, variant)
        for model in models().values()
        for variant in model.variants.values()
    )


def by_digest(weights: Iterable[Weights]) -> dict[str, Weights]:
    """Arrange files by their digest."""
    return {each.digest: each for each in weights}
