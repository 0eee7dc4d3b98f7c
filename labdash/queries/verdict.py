"""What the end of a try says: how it ended, where the model was, and how fast it was."""

from collections.abc import Iterator
from dataclasses import dataclass

from labdash.wording import size
from workers import wire
from workers.wire.tries import MOST_S, MOST_TOKENS

# As much of a model outside the GPUs as rounding makes.
NEGLIGIBLE = 0.005
# A model that is in memory answers sooner, unless Ollama loads it anew.
LOADED_ANEW_S = 1.0
# From here on a decimal tells nothing.
MANY = 100

SAID = {
    "length": f"Cut short at {MOST_TOKENS:,} tokens, thinking included: more is not asked for.",
    "stopped": "Stopped before its end: by hand, or since no page asked for it any more.",
    "too_long": "Cut short: the answer is longer than LabDash shows.",
    "too_late": f"Cut short after {MOST_S / 60:.0f} min.",
}


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where a model was. ``level`` is good, attention or info."""

    level: str
    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A figure with its unit, and how it came about."""

    name: str
    value: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All that the end of a try says. ``trouble`` is why there is no answer, or not all of it."""

    trouble: str
    is_failed: bool
    where: Where | None
    facts: tuple[Fact, ...]


def judge(end: wire.TryEnd) -> Verdict:
    """Put the end of a try in words."""
    trouble = end.reason or SAID.get(end.outcome, "")
    if end.outcome == "answered" and end.is_empty:
        trouble = "It ended without a word of an answer."
    return Verdict(
        trouble=trouble,
        is_failed=end.outcome == "failed",
        where=where(end.place) if end.place else None,
        facts=tuple(_facts(end)),
    )


def where(place: wire.TryPlace) -> Where:
    """Say where a model was: the driver's word, where there is one, comes before Ollama's."""
    share = _cpu_share(place)
    if place.gpus:
        return _measured(place, share)
    if share is None:
        text = "Ollama did not list it as loaded when its first word came."
        return Where(level="info", title="Where it ran is not known", text=text)
    held = size(place.size_bytes or 0)
    if share >= 1:
        text = f"Ollama reports {held} in RAM and none on a GPU."
        return Where(level="info" if place.gpus is None else "attention", title="CPU", text=text)
    title = "GPU" if share <= NEGLIGIBLE else f"GPU, and {_percent(share)} on the CPU"
    if place.gpus is None:
        text = f"So Ollama reports, of {held}. Nothing measures it on this node."
        return Where(level="good" if share <= NEGLIGIBLE else "attention", title=title, text=text)
    text = (
        "So Ollama reports, but the driver shows no process of this model. Either it runs on the"
        " CPU after all, or whose process is whose cannot be read there, as in a container."
    )
    return Where(level="attention", title=title, text=text)


def _measured(place: wire.TryPlace, share: float | None) -> Where:
    cards = place.gpus or ()
    names = " and ".join(f"GPU {card.index}" for card in cards)
    held = ", ".join(
        f"{size(card.used_bytes) if card.used_bytes is not None else 'an untold part'} on GPU"
        f" {card.index}{f' ({card.name})' if card.name else ''}"
        for card in cards
    )
    text = f"Measured by the driver while it answered: {held}."
    if share is None or share <= NEGLIGIBLE:
        return Where(level="good", title=names, text=text)
    text = f"{text} Of {size(place.size_bytes or 0)} in all, as Ollama reports."
    return Where(level="attention", title=f"{names}, and {_percent(share)} on the CPU", text=text)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _cpu_share(place: wire.TryPlace) -> float | None:
    if place.size_bytes is None or place.size_vram_bytes is None:
        return None
    if place.size_bytes == 0:
        return None
    return min(1.0, max(0.0, 1 - place.size_vram_bytes / place.size_bytes))


def _facts(end: wire.TryEnd) -> Iterator[Fact]:
    if rate := _rate(end.answer_tokens, end.answer_s):
        note = f"{end.answer_tokens:,} tokens in {_seconds(end.answer_s)}"
        yield Fact(name="Answer", value=rate, note=note)
    if rate := _rate(end.prompt_tokens, end.prompt_s):
        note = f"{end.prompt_tokens:,} tokens in {_seconds(end.prompt_s)}"
        yield Fact(name="Prompt", value=rate, note=f"{note}, those that it still knew included")
    if end.first_token_s is not None:
        yield Fact(name="First token", value=_seconds(end.first_token_s), note="after it was asked")
    if end.load_s is not None:
        yield Fact(name="Load", value=_seconds(end.load_s), note=_load_note(end))


def _load_note(end: wire.TryEnd) -> str:
    if not end.was_loaded:
        return "it was not in memory"
    if (end.load_s or 0) < LOADED_ANEW_S:
        return "it was in memory"
    return "it was in memory, but was loaded anew or had to wait"


def _rate(tokens: int | None, seconds: float | None) -> str:
    if not tokens or not seconds:
        return ""
    rate = tokens / seconds
    digits = 0 if rate >= MANY else 1
    return f"{rate:,.{digits}f} tokens/s"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if round(seconds, 1) < 0.1:  # noqa: PLR2004 - below what one decimal tells
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:,.0f} s" if seconds >= MANY else f"{seconds:.1f} s"
