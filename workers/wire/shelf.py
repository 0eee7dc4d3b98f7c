"""What lies in the model store of a server, as far as its machine may read it."""

from typing import Annotated, Literal

from pydantic import Field

from workers.values import Count, Each, Figure, Identity, Maybe, Moment, Prose, Text
from workers.wire.base import PROTOCOL_VERSION, InstanceUrl, Message, Protocol, Slug
from workers.wire.orders import Order

# Models in many small files have some thousand; of more than these in all, only names are told.
MOST_LAYERS = 20_000
MOST_PARTIALS = 200
# Some files are deleted; a disk that sleeps has to wake.
CLEAR_DEADLINE_S = 120.0

type ClearPhase = Literal["working", "done", "failed", "cancelled"]


class Layer(Message):
    """A file of a model. ``digest`` is in 64 hex digits; ``kind`` is the end of its media type."""

    digest: Identity
    size_bytes: Count
    kind: Text = ""


class Partial(Message):
    """A download that is not finished. ``size_bytes`` is what it takes of the disk.

    ``age_s`` is how long nothing was written to it.
    """

    digest: Identity
    size_bytes: Count
    age_s: Figure


class ShelfReading(Message):
    """The files of a store beside those of the names that are listed.

    ``orphan_bytes`` are finished files that no name needs: Ollama deletes them when it starts,
    once they are an hour old. ``note`` is why nothing, or not all, can be told.
    """

    path: Text
    partials: Annotated[tuple[Each[Partial], ...], Field(max_length=MOST_PARTIALS)] = ()
    partial_bytes: Maybe[Count] = None
    orphans: Maybe[Count] = None
    orphan_bytes: Maybe[Count] = None
    may_delete: bool = False
    note: Maybe[Text] = None


class ClearOrder(Order):
    """Delete the unfinished downloads of a server's store that nobody is at."""

    job_id: int
    instance_url: InstanceUrl
    deadline_s: Annotated[float, Field(gt=0)]


class ClearProgress(Message):
    """How that went. ``freed_bytes`` counts what was deleted."""

    kind: Literal["clear"] = "clear"
    protocol: Protocol = PROTOCOL_VERSION
    node: Slug
    sent_at: Moment
    job_id: Count
    phase: ClearPhase
    freed_bytes: Maybe[Count] = None
    reason: Maybe[Prose] = None
    meaning: Maybe[Text] = None
