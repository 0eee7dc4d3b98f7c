"""Small labs for the tests of the planner, and models of the catalog to place in them."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from labdash.catalog.models import find_model
from labdash.planner.lab import Card, Deployment, Instance, Lab, Node, Variant
from labdash.planner.model import Model
from labdash.planner.stock import stock_model

GIB = 1 << 30
MIB = 1 << 20
BUILD = 10_488


@cache
def model_of(name: str, quant: str = "Q4_K_M") -> Model:
    """Return a model of the catalog, the same object each time."""
    known = find_model(name).model
    return stock_model(known.name, known.metadata, quant, tied=bool(known.tied))


def variant(name: str, quant: str = "Q4_K_M", **facts: Any) -> Variant:
    """Return a variant as the library would publish it."""
    model = model_of(name, quant)
    known: dict[str, Any] = {"name": f"{name}-{quant.lower()}", "file_bytes": model.weight_bytes}
    return Variant(**{**known, "quant": quant, "model": model, **facts})


def card(gib: float = 24.0, index: int = 0, **facts: Any) -> Card:
    """Return a card like an RTX 3090 of some size."""
    known: dict[str, Any] = {"vendor": "nvidia", "sm_count": 82, "bandwidth_gbs": 936.0}
    known["name"] = "NVIDIA GeForce RTX 3090"
    return Card(**{**known, "index": index, "total_bytes": int(gib * GIB), **facts})


def instance(node: str, gpus: int, env: Mapping[str, str] | None = None, **facts: Any) -> Instance:
    """Return a server that sees the first GPUs of a node."""
    known: dict[str, Any] = {"name": f"{node}:11434", "version": "0.32.15", "build": BUILD}
    return Instance(**{**known, "gpus": tuple(range(gpus)), "env": env or {}, **facts})


def node(name: str, *gib: float, env: Mapping[str, str] | None = None, **facts: Any) -> Node:
    """Return a machine with cards of these sizes and one server that sees them all."""
    known: dict[str, Any] = {
        "cards": tuple(card(each, index) for index, each in enumerate(gib)),
        "instances": (instance(name, len(gib), env),),
        "ram_bytes": 64 * GIB,
    }
    return Node(**{"name": name, **known, **facts})


def deployment(*variants: Variant, name: str = "chat", **facts: Any) -> Deployment:
    """Return a deployment of some variants, from the wished one to the floor."""
    known: dict[str, Any] = {"ctx_floor": 8192, "ctx_wish": 32_768}
    named = {"name": name, "model": variants[0].name, "variants": variants}
    return Deployment(**{**named, **known, **facts})


def lab(*nodes: Node, wanted: tuple[Deployment, ...] = ()) -> Lab:
    """Return a lab."""
    return Lab(nodes=nodes, deployments=wanted)
