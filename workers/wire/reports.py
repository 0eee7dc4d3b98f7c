"""What a node sends up: every entry of its stream is one of these."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from workers.values import Count, Each, Figure, Identity, Maybe, Medium, Moment, Text
from workers.wire.applies import ApplyProgress
from workers.wire.base import PROTOCOL_VERSION, Message, Protocol, Slug
from workers.wire.hardware import MOST_GPUS, DriverReading, GpuReading, HostReading
from workers.wire.instances import MOST_INSTANCES, MOST_MODELS, InstalledModel, InstanceReading
from workers.wire.loads import LoadProgress
from workers.wire.names import NameProgress
from workers.wire.sharing import ShareProgress
from workers.wire.shelf import ClearProgress, ShelfReading


class Sample(Message):
    """What a node looks like now: every 5 s, every 1 s while somebody looks.

    ``worker_id`` is new with each start of a worker.
    """

    kind: Literal["sample"] = "sample"
    protocol: Protocol = PROTOCOL_VERSION
    node: Slug
    sent_at: Moment
    worker_version: Text
    worker_id: Maybe[Identity] = None
    driver: DriverReading
    gpus: Annotated[tuple[Each[GpuReading], ...], Field(max_length=MOST_GPUS)]
    host: HostReading
    instances: Annotated[tuple[Each[InstanceReading], ...], Field(max_length=MOST_INSTANCES)]


class Inventory(Message):
    """All that is installed on one instance. ``shelf`` is ``None`` where nobody reads its store."""

    kind: Literal["inventory"] = "inventory"
    protocol: Protocol = PROTOCOL_VERSION
    node: Slug
    sent_at: Moment
    instance: Text
    version: Maybe[Text] = None
    models: Annotated[tuple[Each[InstalledModel], ...], Field(max_length=MOST_MODELS)]
    shelf: Maybe[ShelfReading] = None


type PullPhase = Literal[
    "waiting",
    "starting",
    "downloading",
    "verifying",
    "finishing",
    "installed",
    "failed",
    "cancelled",
]


# Why a pull failed, for rules; ``reason`` says it to people.
type PullCause = Literal[
    "no-space",
    "no-such-model",
    "needs-newer-ollama",
    "not-public",
    "refused",
    "busy",
    "unreachable",
    "registry-fault",
    "damaged",
    "stalled",
    "server-away",
    "broken-off",
    "spoiled",
    "disk",
    "slow",
    "other",
]


class PullProgress(Message):
    """How a pull stands; also its heartbeat, sent at least every 5 s.

    ``done_bytes`` never falls within a job for the viewer's sake. ``total_bytes`` grows while
    layers become known. ``arrived_bytes`` came since this worker began, ``found_bytes`` lay there
    already. ``reason`` is a plain sentence, set with ``failed``, and ``cause`` its kind; ``retry``
    tells whether trying again may help.
    """

    kind: Literal["pull"] = "pull"
    protocol: Protocol = PROTOCOL_VERSION
    node: Slug
    sent_at: Moment
    job_id: Count
    attempt: Medium
    phase: PullPhase
    done_bytes: Maybe[Count] = None
    total_bytes: Maybe[Count] = None
    bytes_per_s: Maybe[Figure] = None
    remaining_s: Maybe[Figure] = None
    arrived_bytes: Maybe[Count] = None
    found_bytes: Maybe[Count] = None
    reason: Maybe[Text] = None
    cause: Maybe[PullCause] = None
    retry: bool = False


type Report = Annotated[
    Sample
    | Inventory
    | PullProgress
    | LoadProgress
    | ApplyProgress
    | NameProgress
    | ClearProgress
    | ShareProgress,
    Field(discriminator="kind"),
]

report_adapter: TypeAdapter[Report] = TypeAdapter(Report)
