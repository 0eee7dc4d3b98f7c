"""Headers of models in Ollama's registry and on Hugging Face, which speaks the same protocol.

A name leads to a manifest, the manifest to the digest of the model's file, and of that file only
the header is read.
"""

import json
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import httpx

from labdash.planner.errors import PlannerError
from labdash.planner.gguf import read_header_from
from labdash.planner.gguf_split import model_of
from labdash.planner.model import Model
from labdash.sources.ranges import PORTION_BYTES, TIMEOUT, Service, fetch, range_reader

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MODEL_LAYER = "application/vnd.ollama.image.model"
PROJECTOR_LAYER = "application/vnd.ollama.image.projector"
CONFIG = "application/vnd.docker.container.image.v1+json"
MANIFEST_LIMIT_BYTES = 2**20
CONFIG_LIMIT_BYTES = 2**20
# A manifest has a few hundred bytes.
MANIFEST_S = 30
HEADERS = {"User-Agent": "labdash"}
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
VERSION = re.compile(r"v?\d{1,4}(\.\d{1,6}){0,2}(-[A-Za-z0-9.]{1,12})?")
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
class Layer:
    """A file of a model: ``kind`` is its media type, ``digest`` begins with ``sha256:``."""

    kind: str
    digest: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is published under a name: its files, the one of its settings among them.

    ``digest`` is that of its text, as Ollama lists it.
    """

    digest: str
    layers: tuple[Layer, ...]

    @property
    def bytes(self) -> int:
        """Sum up the files; one that is named twice is stored once."""
        return sum({layer.digest: layer.bytes for layer in self.layers}.values())

    @property
    def weights(self) -> Layer | None:
        """Return the file of weights."""
        return next((layer for layer in self.layers if layer.kind == MODEL_LAYER), None)


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


def read_manifest(
    name: str,
    *,
    client: httpx.Client,
    ollama: Service = OLLAMA,
    timeout: httpx.Timeout = TIMEOUT,
    deadline_s: float = MANIFEST_S,
) -> Manifest:
    """Read what is published under a name.

    Raises ``NotPublishedError`` where the service has no such name, else ``PlannerError``.
    """
    place = address_of(name, ollama=ollama)
    text = fetch(
        client,
        place.service,
        f"{place.base}/manifests/{place.tag}",
        accept=MANIFEST,
        limit_bytes=MANIFEST_LIMIT_BYTES,
        timeout=timeout,
        deadline_s=deadline_s,
    )
    config, layers = _parts(text, place.service)
    return Manifest(digest=sha256(text).hexdigest(), layers=(*config, *layers))


def read_requires(
    name: str, manifest: Manifest, *, client: httpx.Client, ollama: Service = OLLAMA
) -> str:
    """Read which Ollama a published model needs at least, nothing where it does not say.

    Raises ``PlannerError``.
    """
    config = next((each for each in manifest.layers if each.kind == CONFIG), None)
    if config is None:
        return ""
    place = address_of(name, ollama=ollama)
    url = f"{place.base}/blobs/{config.digest}"
    text = fetch(client, place.service, url, limit_bytes=CONFIG_LIMIT_BYTES, deadline_s=MANIFEST_S)
    try:
        found = json.loads(text).get("requires")
    except (ValueError, AttributeError, RecursionError):
        return ""
    return found if isinstance(found, str) and VERSION.fullmatch(found) else ""


def open_remote(name: str, *, ollama: Service = OLLAMA) -> Remote:
    """Read a model's header from where it is published. Raises ``PlannerError``."""
    place = address_of(name, ollama=ollama)
    with httpx.Client(headers=HEADERS) as client:
        found = read_manifest(name, client=client, ollama=ollama)
        if found.weights is None:
            raise PlannerError(f"{name[:60]} holds no GGUF file")
        digest, size = found.weights.digest, found.weights.bytes
        read = range_reader(client, place.service, f"{place.base}/blobs/{digest}")
        header = read_header_from(read, file_bytes=size, portion_bytes=PORTION_BYTES)
    return Remote(
        model=model_of(header, name=name),
        file_bytes=size,
        projector_bytes=sum(e.bytes for e in found.layers if e.kind == PROJECTOR_LAYER),
        warnings=header.warnings,
    )


def _parts(text: bytes, service: Service) -> tuple[list[Layer], list[Layer]]:
    """Read the configuration of a manifest, where it has one, and its layers."""
    try:
        document: Any = json.loads(text)
        config = [_layer(document["config"])] if document.get("config") else []
        layers = [_layer(each) for each in document["layers"]]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        raise PlannerError(f"the manifest of {service.name} is damaged") from None
    if any(not DIGEST.fullmatch(e.digest) or e.bytes < 0 for e in (*config, *layers)):
        raise PlannerError(f"the manifest of {service.name} is damaged")
    return config, layers


def _layer(entry: Any) -> Layer:
    return Layer(str(entry["mediaType"]), str(entry["digest"]), int(entry["size"]))
