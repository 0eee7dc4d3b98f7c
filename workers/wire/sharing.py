"""A node that gives a model to another one: for as long as the hub goes on asking for it."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from workers.values import Count, Each, Maybe, Moment, Text
from workers.wire.base import PROTOCOL_VERSION, InstalledName, InstanceUrl, Message, Protocol, Slug
from workers.wire.orders import Order
from workers.wire.origins import MOST_HOSTS, Host, Port, Secret

MIRROR_PORT = 11480
# The hub renews well before; where it is gone, the port closes after so long.
LEASE_S = 90.0
MOST_LEASE_S = 600.0

type SharePhase = Literal["open", "refused"]


class ShareOrder(Order):
    """Give ``model`` to who knows ``secret``, for ``lease_s`` from now; 0 ends it.

    Only while it stands for the manifest ``digest``. The same again renews it. ``bytes_per_s`` is
    the limit, ``None`` for none.
    """

    job_id: int
    instance_url: InstanceUrl
    model: InstalledName
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    secret: Secret
    bytes_per_s: Annotated[int, Field(ge=1)] | None = None
    lease_s: Annotated[float, Field(ge=0, le=MOST_LEASE_S)] = LEASE_S


class ShareProgress(Message):
    """Whether it is given: at ``port``, by an address of ``hosts``; or why it is not."""

    kind: Literal["share"] = "share"
    protocol: Protocol = PROTOCOL_VERSION
    node: Slug
    sent_at: Moment
    job_id: Count
    secret: Secret
    phase: SharePhase
    port: Maybe[Port] = None
    hosts: Annotated[tuple[Each[Host], ...], Field(max_length=MOST_HOSTS)] = ()
    reason: Maybe[Text] = None
