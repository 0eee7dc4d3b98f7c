"""When two model names mean the same, by the rules of its server."""

import re

# host:port/secret/model:tag, as ``workers.wire.origins`` has them.
_COPY = re.compile(
    r"(?!(?:registry\.ollama\.ai|hf\.co|huggingface\.co)/)"
    r"[A-Za-z0-9_][A-Za-z0-9_.:\-]*/[0-9a-f]{32}/[^/]+"
)
_SECRET = re.compile(r"/[0-9a-f]{32}/")


def canonical_name(name: str) -> str:
    """Write out what Ollama fills in, in small letters: its lookups know no case."""
    path, colon, tag = name.lower().rpartition(":")
    if not colon or "/" in tag:
        path, tag = name.lower(), "latest"
    parts = path.split("/")
    defaults = ["registry.ollama.ai", "library"]
    return "/".join(defaults[: 3 - len(parts)] + parts) + f":{tag}"


def listed_name(name: str) -> str:
    """Write a name as its server lists it: never without a tag."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def is_copy(name: str) -> bool:
    """Tell a name under which a model came from within the lab, for as long as that takes."""
    return _COPY.fullmatch(name) is not None


def without_places(text: str) -> str:
    """Take out of a text the secrets by which models come from within the lab."""
    return _SECRET.sub("/…/", text)


def model_and_tag(name: str) -> str:
    """Return the end of a name: what is the same in every namespace."""
    return listed_name(name).rpartition("/")[2]
