"""Headers of models in Ollama's registry and on Hugging Face, which speaks the same protocol.

A name leads to a manifest, the manifest to the digest of the model's file, and of that file only
the header is read.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import httpx

from labdash.planner.errors import PlannerError
from labdash.planner.gguf import read_header_from
from labdash.planner.gguf_split import model_of
from labdash.planner.model import Model
from labdash.sources.ranges import PORTION_BYTES, Service, fetch, range_reader

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MODEL_LAYER = "application/vnd.ollama.image.model"
PROJECTOR_LAYER = "application/vnd.ollama.image.projector"
MANIFEST_LIMIT_BYTES = 2**20
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# ollama.md of its names: host, namespace, model, tag.
PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
NAME = re.compile(rf"(?:({PART})/)?({PART})(?::({PART}))?")

OLLAMA = Service("https://registry.ollama.ai", (".r2.cloudflarestorage.com",))
HUGGING_FACE = Service("https://hf.co", ("huggingface.co", ".hf.co"))
PREFIXES = {"hf.co/": HUGGING_FACE, "huggingface.co/": HUGGING_FACE, "registry.ollama.ai/": OLLAMA}


@dataclass(frozen=True, slots=True)
class Remote:
    """A model that is not here: ``file_bytes`` and ``projector_bytes`` are what a pull fetches."""

    model: Model
    file_bytes: int
    projector_bytes: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a model is."""

    service: Service
    namespace: str
    model: str
    tag: str

    @property
    def base(self) -> str:
        """Return the address that manifests and blobs lie under."""
        return f"{self.service.base}/v2/{self.namespace}/{self.model}"


def address_of(name: str, *, ollama: Service = OLLAMA) -> Address:
    """Read ``qwen3:14b``, ``user/model:tag`` or ``hf.co/user/repository:Q4_K_M``.

    Raises ``PlannerError`` where a name cannot be one.
    """
    text = name.strip().removeprefix("https://")
    service, rest = ollama, text
    for prefix, known in PREFIXES.items():
        if text.lower().startswith(prefix):
            service, rest = (ollama if known is OLLAMA else known), text[len(prefix) :]
    found = NAME.fullmatch(rest)
    if found is None or ".." in rest:
        raise PlannerError(
            f"{name[:60]!r} is no name of a model: write qwen3:14b or hf.co/user/repository:Q4_K_M"
        )
    namespace, model, tag = found.groups()
    if service is HUGGING_FACE and namespace is None:
        raise PlannerError(f"{name[:60]} names no repository: write hf.co/user/repository")
    return Address(service, namespace or "library", model, tag or "latest")


def open_remote(name: str, *, ollama: Service = OLLAMA) -> Remote:
    """Read a model's header from where it is published. Raises ``PlannerError``."""
    place = address_of(name, ollama=ollama)
    with httpx.Client(headers={"User-Agent": "labdash"}) as client:
        url = f"{place.base}/manifests/{place.tag}"
        text = fetch(client, place.service, url, accept=MANIFEST, limit_bytes=MANIFEST_LIMIT_BYTES)
        layers = _layers(text, place.service)
        digest, size = _model_layer(layers, name)
        read = range_reader(client, place.service, f"{place.base}/blobs/{digest}")
        header = read_header_from(read, file_bytes=size, portion_bytes=PORTION_BYTES)
    return Remote(
        model=model_of(header, name=name),
        file_bytes=size,
        projector_bytes=sum(size for kind, _, size in layers if kind == PROJECTOR_LAYER),
        warnings=header.warnings,
    )


def _layers(text: bytes, service: Service) -> list[tuple[str, str, int]]:
    """Read kind, digest and size of each layer of a manifest."""
    try:
        document: Any = json.loads(text)
        layers = [
            (str(e["mediaType"]), str(e["digest"]), int(e["size"])) for e in document["layers"]
        ]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise PlannerError(f"the manifest of {service.name} is damaged") from None
    if any(not DIGEST.fullmatch(digest) or size < 0 for _, digest, size in layers):
        raise PlannerError(f"the manifest of {service.name} is damaged")
    return layers


def _model_layer(layers: list[tuple[str, str, int]], name: str) -> tuple[str, int]:
    found = [(digest, size) for kind, digest, size in layers if kind == MODEL_LAYER]
    if not found:
        raise PlannerError(f"{name[:60]} holds no GGUF file")
    return found[0]
