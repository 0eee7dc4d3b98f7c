"""Loading, keeping and unloading by hand: what a node says of it."""

from typing import Annotated, Literal

from pydantic import Field

from workers.values import Count, Each, Maybe, Moment, Prose, Text
from workers.wire.base import PROTOCOL_VERSION, Message, Protocol, Slug
from workers.wire.tries import TryPlace

FOREVER_S = -1
# A longer time is for ever.
MOST_KEEP_S = 30 * 86400
MOST_CONTEXT = 2**24
MOST_MAIN_GPU = 63
MOST_LOG_LINES = 40
# Loads of large models from slow disks take minutes; Ollama itself gives up where nothing moves.
LOAD_DEADLINE_S = 1800.0
# A worker says so often that it is at it, and is taken for lost after the second.
LOAD_BEAT_S = 5.0
LOAD_QUIET_S = 30.0

type LoadWishName = Literal["load", "keep", "unload"]
type LoadPhase = Literal["starting", "loading", "loaded", "unloaded", "failed", "cancelled"]


class LoadProgress(Message):
    """How an order about a model in memory stands; also its heartbeat.

    ``reason`` is what the server said, ``meaning`` what that means, in plain sentences; ``log``
    holds the last lines of the server's log, ``log_note`` says why there are none. ``place`` is
    where the model was afterwards, ``expires_at`` when it is to leave.
    """

    kind: Literal["load"] = "load"
    protocol: Protocol = PROTOCOL_VERSION
    node: Slug
    sent_at: Moment
    job_id: Count
    phase: LoadPhase
    reason: Maybe[Prose] = None
    meaning: Maybe[Text] = None
    log: Annotated[tuple[Each[Text], ...], Field(max_length=MOST_LOG_LINES)] = ()
    log_note: Maybe[Text] = None
    place: Maybe[TryPlace] = None
    expires_at: Maybe[Moment] = None
