"""Names of LabDash's own on a server: what a node says of making and deleting them."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from workers.values import Count, Maybe, Moment, Prose, Text
from workers.wire.base import PROTOCOL_VERSION, Message, Protocol, Slug
from workers.wire.loads import MOST_CONTEXT, MOST_MAIN_GPU

# Only such a name is ever deleted by an order.
AliasName = Annotated[
    str,
    StringConstraints(pattern=r"^labdash/[a-z0-9_][a-z0-9_.\-]{0,79}(:latest)?$", max_length=96),
]
MOST_BATCH = 2**16
MOST_LAYERS = 2**15
# Small files are written; a disk that sleeps needs its time to wake.
APPLY_DEADLINE_S = 180.0

type ApplyStep = Literal["create", "delete"]
type ApplyPhase = Literal["working", "done", "failed", "cancelled"]


class Parameters(Message):
    """Options that a name keeps. ``None``: as if nobody had ever set it."""

    num_ctx: Annotated[int, Field(strict=True, ge=1, le=MOST_CONTEXT)] | None = None
    num_batch: Annotated[int, Field(strict=True, ge=1, le=MOST_BATCH)] | None = None
    num_gpu: Annotated[int, Field(strict=True, ge=0, le=MOST_LAYERS)] | None = None
    main_gpu: Annotated[int, Field(strict=True, ge=0, le=MOST_MAIN_GPU)] | None = None


class ApplyProgress(Message):
    """How an order about a name stands; also its heartbeat.

    ``reason`` is what the server said, ``meaning`` what that means, in plain sentences.
    """

    kind: Literal["apply"] = "apply"
    protocol: Protocol = PROTOCOL_VERSION
    node: Slug
    sent_at: Moment
    job_id: Count
    step: ApplyStep
    phase: ApplyPhase
    reason: Maybe[Prose] = None
    meaning: Maybe[Text] = None
