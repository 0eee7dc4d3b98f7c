"""Where in the lab a pull may come from, instead of the registry of its model."""

import hmac
from typing import Annotated

from pydantic import Field, StringConstraints

from workers.values import Text
from workers.wire.base import Message

MOST_HOSTS = 8
# What plain HTTP brings may be anybody's; this header says who wrote a manifest.
SEAL_HEADER = "LabDash-Seal"

# 128 bits, as a registry's namespace: nobody guesses one.
Secret = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
# No address of IPv6: the name of a model cannot hold one.
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]{0,252}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Origin(Message):
    """A server that gives one model to who knows ``secret``: ``host:port/secret/model:tag``.

    ``hosts`` are tried in their order. Only a manifest with ``digest`` will do, any where that is
    ``None``; with ``seal``, which no network sees, only one that the giver sealed. ``giver`` is how
    sentences call it.
    """

    giver: Text
    hosts: Annotated[tuple[Host, ...], Field(min_length=1, max_length=MOST_HOSTS)]
    port: Port
    secret: Secret
    digest: _Digest | None = None
    seal: Secret | None = None


def sealed(seal: str, manifest: bytes) -> str:
    """Return what only who knows ``seal`` can say of a manifest."""
    return hmac.digest(seal.encode(), manifest, "sha256").hex()
