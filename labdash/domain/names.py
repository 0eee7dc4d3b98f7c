"""Model names as Ollama writes them: ``[host/][namespace/]model[:tag]``."""

import hashlib
import re

from labdash.domain.errors import LabDashError
from labdash.models.library import KEPT_FOLDER
from labdash.planner.placing.inventory import is_cloud

OLLAMA_HOST = "registry.ollama.ai"
# Nothing is fetched from anywhere else: an order must not make a node open an arbitrary address.
HOSTS = (OLLAMA_HOST, "hf.co", "huggingface.co")
# Ollama's own limit for each part, and the forms that it admits (a namespace holds no dot).
LONGEST_PART = 80
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
# So much of a part is written to show which one is meant.
_SHOWN = 20


def parse_model_name(text: str) -> str:
    """Return the name as Ollama lists it, with its tag; one name, whatever way it was written.

    Raises ``LabDashError`` with a plain line for what Ollama or LabDash would not pull.
    """
    name = text.strip()
    if not name:
        raise LabDashError("Write a model name, such as qwen3:8b.")
    if "://" in name:
        raise LabDashError("Leave out what ends with ://: write the name alone, such as qwen3:8b.")
    host, namespace, model, tag = _split(name)
    _check(name, namespace, model, tag)
    if is_cloud(f"{model}:{tag}"):
        raise LabDashError(f"{name} runs in Ollama's cloud: there is nothing to pull.")
    if host != OLLAMA_HOST:
        return f"{host}/{namespace}/{model}:{tag}"
    return f"{model}:{tag}" if namespace == "library" else f"{namespace}/{model}:{tag}"


def kept_name(name: str) -> str:
    """Return the name under which the version before an update is kept on its server."""
    path, _, tag = name.rpartition(":")
    flat = path.replace("/", "--")
    if len(flat) > LONGEST_PART:
        digest = hashlib.sha256(flat.encode()).hexdigest()[:_SHOWN]
        flat = f"{flat[: LONGEST_PART - _SHOWN - 2]}--{digest}"
    return f"{KEPT_FOLDER}{flat}:{tag}"


def _split(name: str) -> tuple[str, str, str, str]:
    path, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        path, tag = name, "latest"
    *before, model = path.split("/")
    if len(before) > 2:  # noqa: PLR2004 - host and namespace
        raise LabDashError(f"{name} has too many parts: write host/namespace/model:tag.")
    host = before.pop(0).lower() if len(before) == 2 else OLLAMA_HOST  # noqa: PLR2004 - as above
    namespace = before[0] if before else "library"
    if host not in HOSTS:
        raise LabDashError(f"{host} is not a known source. Models come from {', '.join(HOSTS)}.")
    return host, namespace, model, tag


def _check(name: str, namespace: str, model: str, tag: str) -> None:
    if namespace in HOSTS:
        raise LabDashError(f"{name} lacks a part: write {namespace}/user/model.")
    for what, part in (("namespace", namespace), ("name", model), ("tag", tag)):
        if len(part) > LONGEST_PART:
            raise LabDashError(
                f"The {what} {part[:_SHOWN]}… is too long: it has {len(part)} characters, and"
                f" Ollama takes {LONGEST_PART} at most."
            )
    if not (_NAMESPACE.fullmatch(namespace) and _PART.fullmatch(model) and _PART.fullmatch(tag)):
        raise LabDashError(
            f"{name[:80]} is no model name: use letters, digits, dots, hyphens and underscores,"
            " such as qwen3:8b."
        )
