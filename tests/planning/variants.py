"""Files of the simulated registry as the planner is given them: the same tensors, read anew."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from labdash.planner.ggml import TYPES
from labdash.planner.gguf_tensors import sized_tensor
from labdash.planner.lab import Deployment, Variant
from labdash.planner.model import Model
from workers.simlab.catalog import models, offers
from workers.simlab.ollama.weights import from_catalog

_TYPES = {name.upper(): name for name in TYPES}


@cache
def variant(name: str) -> Variant:
    """Return what the registry offers under a name, the same object each time."""
    offer = next(each for each in offers() if each.name == name)
    known = models()[offer.model]
    found = known.variants[offer.quant]
    metadata = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in known.metadata.items()
    }
    model = Model(
        name=offer.model,
        quant=offer.quant,
        metadata=metadata,
        tensors=tuple(
            sized_tensor(each.name, each.shape, _TYPES[each.type]) for each in found.tensors
        ),
        tensor_source="show",
    )
    digest = from_catalog(known, found).digest
    return Variant(
        name=name,
        quant=offer.quant,
        model=model,
        file_bytes=found.file_bytes,
        digest=digest.removeprefix("sha256:"),
    )


def wanted(names: str | Iterable[str], *, name: str = "", **facts: Any) -> Deployment:
    """Return a deployment of files, from the wished to the floor; 8192 tokens unless said."""
    files = tuple(map(variant, [names] if isinstance(names, str) else names))
    known: dict[str, Any] = {"ctx_floor": 8192, "ctx_wish": 8192, "model": files[0].name}
    named = {"name": name or files[0].name.replace(":", "-"), "variants": files}
    return Deployment(**known | named | facts)
