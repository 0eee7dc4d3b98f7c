"""One prompt to one model: what a node writes of the answer, a line of JSON each.

The lines lie under ``try_answer_key``, in ASCII alone, so that any part of them can be read.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from workers.values import Count, Each, Figure, Maybe, Medium, Prose, Small, Text
from workers.wire.base import Message
from workers.wire.hardware import MOST_GPUS

MOST_PROMPT = 4000
# Thinking counts.
MOST_TOKENS = 2000
MOST_S = 600.0
# Far above what so many tokens take, as JSON.
MOST_ANSWER_BYTES = 400_000
# A prompt waits no longer for a worker that takes it.
TAKE_S = 20
# Who looks says so in each poll; after so long without, the answer is wanted no more.
WISH_S = 10
# An answer whose worker is silent for so long is gone.
BEAT_S = 15
# An answer that has ended is kept for a page that was slow to ask.
ENDED_KEPT_S = 120


class TryBegan(Message):
    """The model is being asked. ``was_loaded``: it was in memory; unknown when this comes first."""

    kind: Literal["began"] = "began"
    was_loaded: Maybe[bool] = None


class TryText(Message):
    """A piece of what the model thinks or answers."""

    kind: Literal["text"] = "text"
    text: Prose
    thinking: bool = False


class TryGpu(Message):
    """A GPU on which the driver saw the model's runner, and what it held there."""

    index: Small
    name: Maybe[Text] = None
    used_bytes: Maybe[Count] = None


class TryPlace(Message):
    """Where the model was while it answered.

    ``size_bytes`` and ``size_vram_bytes`` are Ollama's own figures, ``None`` where it does not list
    the model. ``gpus`` is the driver's, ``None`` where none tells of processes.
    """

    size_bytes: Maybe[Count] = None
    size_vram_bytes: Maybe[Count] = None
    context_length: Maybe[Medium] = None
    gpus: Maybe[Annotated[tuple[Each[TryGpu], ...], Field(max_length=MOST_GPUS)]] = None


type TryOutcome = Literal["answered", "length", "stopped", "too_long", "too_late", "failed"]


class TryEnd(Message):
    """How it ended. Counts and their times are Ollama's own, of this answer alone.

    ``length``: at ``MOST_TOKENS``. ``reason`` is a plain sentence, set with ``failed``.
    ``is_empty``: no word of an answer came, whatever it thought. ``first_token_s`` counts from the
    request. ``load_s`` holds the wait for other loads too.
    """

    kind: Literal["end"] = "end"
    outcome: TryOutcome
    reason: Maybe[Text] = None
    is_empty: bool = False
    was_loaded: Maybe[bool] = None
    first_token_s: Maybe[Figure] = None
    load_s: Maybe[Figure] = None
    prompt_tokens: Maybe[Medium] = None
    prompt_s: Maybe[Figure] = None
    answer_tokens: Maybe[Medium] = None
    answer_s: Maybe[Figure] = None
    place: Maybe[TryPlace] = None


type TryLine = Annotated[TryBegan | TryText | TryEnd, Field(discriminator="kind")]

try_line_adapter: TypeAdapter[TryLine] = TypeAdapter(TryLine)
