"""Model names as Ollama reads, checks, shows and re-cases them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

# Stands where a separator promised a part that is empty; no valid part holds a "!".
_MISSING = "!MISSING!"
_MAX_CHARS = {"host": 350, "namespace": 80, "model": 80, "tag": 80}


class SourceClashError(ValueError):
    """A name says both ``:local`` and ``:cloud``."""


@dataclass(frozen=True, kw_only=True)
class Name:
    """``host/namespace/model:tag`` with the defaults filled in."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def is_valid(self) -> bool:
        """Whether each part keeps Ollama's grammar."""
        parts = {"host": self.host, "namespace": self.namespace, "model": self.model}
        return all(_part_ok(kind, text) for kind, text in (parts | {"tag": self.tag}).items())

    @property
    def short(self) -> str:
        """The shortest name: no default host, and no ``library`` with it."""
        if self.host.lower() != DEFAULT_HOST:
            return self.full
        if self.namespace.lower() != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"

    @property
    def full(self) -> str:
        """All four parts."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def path(self) -> str:
        """Where its manifest lies under ``manifests/``."""
        return f"{self.host}/{self.namespace}/{self.model}/{self.tag}"


def parse(text: str) -> Name:
    """Read a name; look at ``is_valid`` before use. Raises SourceClashError."""
    text = _without_source(text)
    rest, tag = text, DEFAULT_TAG
    if text.rfind(":") > text.rfind("/"):
        rest, tag = _cut(text)
    rest, _, model = rest.rpartition("/")
    rest, _, namespace = rest.rpartition("/")
    host = rest.rpartition("://")[2]
    promised = text.count("/")
    return Name(
        host=host or (_MISSING if promised > 1 else DEFAULT_HOST),
        namespace=namespace or (_MISSING if promised else DEFAULT_NAMESPACE),
        model=model,
        tag=tag,
    )


def from_path(path: str) -> Name:
    """Read back ``Name.path``."""
    host, namespace, model, tag = path.split("/")
    return Name(host=host, namespace=namespace, model=model, tag=tag)


def recase(name: Name, existing: Iterable[Name]) -> Name:
    """Spell each part as any existing name spells it: lookups ignore case."""
    for other in existing:
        for part in ("host", "namespace", "model", "tag"):
            if getattr(name, part).lower() == getattr(other, part).lower():
                name = replace(name, **{part: getattr(other, part)})
    return name


def _without_source(text: str) -> str:
    rest, _, marker = text.rpartition(":")
    if marker != "local" or not rest:
        return text
    if rest.endswith((":cloud", "-cloud")):
        raise SourceClashError(f'use either :local or :cloud, not both: "{text}"')
    return rest


def _cut(text: str) -> tuple[str, str]:
    before, _, after = text.rpartition(":")
    return before or _MISSING, after or _MISSING


def _part_ok(kind: str, text: str) -> bool:
    if not 1 <= len(text) <= _MAX_CHARS[kind]:
        return False
    return _is_word(text[0]) and all(_char_ok(kind, char) for char in text[1:])


def _char_ok(kind: str, char: str) -> bool:
    if char == ".":
        return kind != "namespace"
    if char == ":":
        return kind == "host"
    return char == "-" or _is_word(char)


def _is_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")
