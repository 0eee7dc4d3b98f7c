"""Which llama.cpp an Ollama release runs."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from labdash.catalog.files import read_json
from labdash.planner.errors import PlannerError
from labdash.planner.ollama import LLAMA_SERVER_SINCE, Version, parse_version

BUILD = re.compile(r"b?(\d{1,7})")
# Ollama before 0.30 ran engines of its own. They place layers and count outputs as llama.cpp did
# until December 2025, so they take the rules of a build of the month before.
OWN_ENGINE_BUILD = 6900


@dataclass(frozen=True, slots=True)
class Build:
    """A build number of llama.cpp. ``warning`` says what was assumed."""

    number: int
    warning: str | None = None


def parse_engine(text: str) -> Build:
    """Read ``b10488`` or ``ollama:0.32.15``. Raises ``PlannerError``."""
    if text.startswith("ollama:"):
        return build_of_ollama(text.removeprefix("ollama:"))
    match = BUILD.fullmatch(text)
    if match is None:
        raise PlannerError(f"no engine {text[:40]!r}: write b10488 or ollama:0.32.15")
    number, newest = int(match[1]), int(_facts()["newest_build"])
    if number <= newest:
        return Build(number)
    text = f"llama.cpp b{number} is newer than what is known: it is taken as b{newest}"
    return Build(number, text)


def build_of_ollama(version: str) -> Build:
    """Tell the build that an Ollama release pins. Raises ``PlannerError``.

    A release between two known ones takes the earlier one's. For a newer one than all, and for a
    build from source (0.0.0), the newest known is assumed, with a warning.
    """
    wanted, pins = parse_version(version), _pins()
    newest = max(pins)
    if wanted == (0, 0, 0):
        return Build(pins[newest], "an Ollama built from source does not tell its version")
    if wanted < LLAMA_SERVER_SINCE:
        text = f"Ollama {version} runs an engine of its own: llama.cpp's rules of 2025 are taken"
        return Build(OWN_ENGINE_BUILD, text)
    if wanted > newest:
        known = ".".join(map(str, newest))
        text = f"Ollama {version} is newer than what is known: it is taken as {known}"
        return Build(pins[newest], text)
    return Build(pins[max(pin for pin in pins if pin <= wanted)])


def newest_engine() -> Build:
    """Return the build of the newest Ollama release that is known."""
    return build_of_ollama(_facts()["newest_release"])


@cache
def _facts() -> dict[str, Any]:
    return read_json("engines.json")


@cache
def _pins() -> dict[Version, int]:
    return {parse_version(version): build for version, build in _facts()["builds"].items()}
