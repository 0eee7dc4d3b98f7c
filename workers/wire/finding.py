"""Looking for Ollama in the hub's own networks: the order, and what its worker tells meanwhile.

All lies under ``found_key``, written whole each time. The wish to look is ``find_wish_key``, whose
value is the order's ``find_id``: where it is gone or another's, the worker ends.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from workers.values import Each, Maybe, Medium, Name, Text
from workers.wire.base import Message, TryId
from workers.wire.orders import Order

OLLAMA_PORT = 11434
# As many as a /22 has.
MOST_ADDRESSES = 1022
MOST_SERVERS = 100
MOST_NETWORKS = 20
# In all, and for an address to be connected to and then to answer.
MOST_S = 20.0
CONNECT_S = 0.7
ANSWER_S = 2.0
# An order waits no longer for a worker that begins.
TAKE_S = 10
# Above ``MOST_S``: who began may go on so long.
WISH_S = 30
# What was found is kept for so long after it was written last.
KEPT_S = 600
# A worker that looks writes several times a second; one that was silent for so long is gone.
BEAT_S = 6

Address = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$")]
Version = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_\-]{0,39}$")]
type FindState = Literal["looking", "ended", "stopped", "late", "failed"]
type LeftOutWhy = Literal["virtual", "tunnel", "public", "full"]


class FindOrder(Order):
    """Look for Ollama in the networks of the hub's machine; which ones, its worker decides."""

    node: Literal["@hub"] = "@hub"
    find_id: TryId


class FoundServer(Message):
    """An Ollama server. ``is_own``: at an address of the hub's own machine."""

    address: Address
    port: Annotated[int, Field(ge=1, le=65535)] = OLLAMA_PORT
    host_name: Maybe[Name] = None
    version: Maybe[Version] = None
    is_own: bool = False


class LookedNetwork(Message):
    """A network that is looked through; ``part_of`` is the whole where it is too large for that."""

    network: Text
    part_of: Maybe[Text] = None


class LeftOut(Message):
    """An interface, or an address of it, whose network is not looked through."""

    name: Text
    why: LeftOutWhy


class Found(Message):
    """What was found so far. ``is_simulated``: only the machines of the demo were asked."""

    find_id: TryId
    state: FindState
    looked_at: Medium = 0
    total: Medium = 0
    networks: Annotated[tuple[Each[LookedNetwork], ...], Field(max_length=MOST_NETWORKS)] = ()
    left_out: Annotated[tuple[Each[LeftOut], ...], Field(max_length=MOST_NETWORKS)] = ()
    servers: Annotated[tuple[Each[FoundServer], ...], Field(max_length=MOST_SERVERS)] = ()
    has_more: bool = False
    is_simulated: bool = False
