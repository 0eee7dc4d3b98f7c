"""Where a model is published, and where its bytes may come from.

The hub holds the same rules for what it reads itself (``labdash.sources``): neither side takes
the other's word.
"""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

DEFAULT_HOST = "registry.ollama.ai"
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79}"
_NAME = re.compile(rf"(?:([a-z.]+\.[a-z]+)/)?(?:({_PART})/)?({_PART})(?::({_PART}))?")


class BadAddress(ValueError):  # noqa: N818 - named for what it is
    """A name or an address that is not followed."""


@dataclass(frozen=True, slots=True)
class Service:
    """A registry: its address, and the hosts that it may send on to.

    A host with a dot before it stands for all below it.
    """

    base: str
    hosts: tuple[str, ...] = ()

    def admits(self, url: str) -> bool:
        """Tell whether an address belongs to the service, by scheme, host and port."""
        try:
            parts, own = urlsplit(url), urlsplit(self.base)
            port = parts.port
        except ValueError:
            return False
        if parts.username is not None or parts.scheme != own.scheme:
            return False
        host = (parts.hostname or "").lower()
        if host == own.hostname:
            return port == own.port
        return port is None and not _is_ip(host) and any(_fits(host, each) for each in self.hosts)


def _fits(host: str, admitted: str) -> bool:
    return host.endswith(admitted) if admitted.startswith(".") else host == admitted


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


SERVICES = {
    DEFAULT_HOST: Service(f"https://{DEFAULT_HOST}", (".r2.cloudflarestorage.com",)),
    "hf.co": Service("https://hf.co", ("huggingface.co", ".hf.co")),
}
_OTHER_NAMES = {"huggingface.co": "hf.co"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A published model: ``host/namespace/model:tag``."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def path(self) -> PurePosixPath:
        """Where its manifest lies, below a folder."""
        return PurePosixPath(self.host, self.namespace, self.model, self.tag)

    @property
    def shown(self) -> str:
        """The name as Ollama shows it."""
        if self.host != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"
        space = "" if self.namespace == "library" else f"{self.namespace}/"
        return f"{space}{self.model}:{self.tag}"

    @property
    def repository(self) -> str:
        """The part of a registry's paths that names the model."""
        return f"{self.namespace}/{self.model}"


def address_of(name: str) -> Address:
    """Read ``qwen3:14b``, ``user/model:tag`` or ``hf.co/user/repository:Q4_K_M``.

    Raises ``BadAddress``.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise BadAddress(f"{name[:80]!r} names no model")
    host, namespace, model, tag = found.groups()
    host = _OTHER_NAMES.get(host, host) or DEFAULT_HOST
    if host not in SERVICES or (host != DEFAULT_HOST and namespace is None):
        raise BadAddress(f"{name[:80]!r} is published at no place that is known")
    return Address(host=host, namespace=namespace or "library", model=model, tag=tag or "latest")


def address_at(path: PurePosixPath) -> Address:
    """Read back ``Address.path``. Raises ``BadAddress``."""
    parts = path.parts
    if len(parts) != len(("host", "namespace", "model", "tag")):
        raise BadAddress(f"{path} is no path of a manifest")
    host, namespace, model, tag = parts
    return address_of(f"{host}/{namespace}/{model}:{tag}")
