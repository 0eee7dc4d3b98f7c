"""What the hub tells its cache of models, and what the cache tells of itself.

Both are values in the store that are written whole: ``spec_key`` by the hub, ``state_key`` by the
cache. Who lost one writes it again within seconds, so neither needs to arrive.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from workers.values import Each, Figure, Maybe, Name, Text
from workers.wire.base import PROTOCOL_VERSION, Message, ModelName, Protocol
from workers.wire.origins import Secret

CACHE_PORT = 11481
# Where a Windows node can pull from: no name with a port can be a folder there.
PLAIN_PORT = 80
# A state that is older than this is none: the cache has ended or hangs.
STATE_KEPT_S = 10
# A spec that is older than the last one by more than this tells of a clock that was put back.
SPECS_APART_S = 60
# What was asked to be deleted while no cache runs is forgotten.
DROPS_KEPT_S = 60
EVERYTHING = "*"
MOST_GRANTS = 1000
MOST_CACHED = 2000

_Bytes = Annotated[int, Field(ge=0, lt=2**63)]


class CacheGrant(Message):
    """Who knows ``secret`` may pull ``model``, and nothing else, until the grant is gone.

    By ``seal`` its node sees that the manifest is the cache's.
    """

    secret: Secret
    model: ModelName
    seal: Secret | None = None


class CacheAhead(Message):
    """A model that is fetched before anybody asks, for an Ollama of that version."""

    model: ModelName
    version: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.+_\-]{0,40}$")] = ""


class CacheSpec(Message):
    """What the cache shall do now. ``bytes_per_s`` is the limit from the internet.

    ``made_at`` (seconds since 1970) is when its rows began to be read: of two that are written in
    one moment, the one that knows more wins.
    """

    protocol: Protocol = PROTOCOL_VERSION
    made_at: Figure = 0
    limit_bytes: _Bytes
    keep_free_bytes: _Bytes
    bytes_per_s: Annotated[int, Field(ge=0)] | None = None
    plain_port: bool = False
    grants: Annotated[tuple[Each[CacheGrant], ...], Field(max_length=MOST_GRANTS)] = ()
    ahead: Annotated[tuple[Each[CacheAhead], ...], Field(max_length=MOST_GRANTS)] = ()


class CachedModel(Message):
    """A model in the cache. ``bytes_per_s`` is there while it arrives, ``reason`` where it waits.

    ``is_wanted``: a pull needs it, so it stays. Blobs that two models share count for both.
    """

    model: Name
    here_bytes: _Bytes
    total_bytes: _Bytes
    used_at: Figure
    bytes_per_s: Maybe[Figure] = None
    is_arriving: bool = False
    is_wanted: bool = False
    reason: Maybe[Text] = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing of it is missing."""
        return 0 < self.total_bytes == self.here_bytes


class CacheState(Message):
    """How the cache stands. ``room_bytes`` is what it could still take, after clearing up.

    ``ports`` are open; ``errors`` say of a port why it is not. ``upstream_bytes``,
    ``given_bytes`` and, of these, ``saved_bytes`` count since ``since`` (seconds since 1970).
    """

    protocol: Protocol = PROTOCOL_VERSION
    ports: tuple[int, ...] = ()
    errors: dict[str, Text] = {}
    used_bytes: _Bytes = 0
    room_bytes: _Bytes = 0
    upstream_bytes: _Bytes = 0
    given_bytes: _Bytes = 0
    saved_bytes: _Bytes = 0
    since: Figure = 0
    models: Annotated[tuple[Each[CachedModel], ...], Field(max_length=MOST_CACHED)] = ()


def spec_key() -> str:
    """Name the key by which the hub tells the cache what to do."""
    return "hub:cache:spec"


def state_key() -> str:
    """Name the short-lived key by which the cache tells how it stands."""
    return "hub:cache:state"


def rechecks_key() -> str:
    """Name the set of models whose files somebody found damaged: the cache reads them again."""
    return "hub:cache:rechecks"


def drops_key() -> str:
    """Name the set of models that the cache shall delete; ``EVERYTHING`` may be in it."""
    return "hub:cache:drops"
