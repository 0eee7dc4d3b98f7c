"""What a request asks for, from its path and its Range. Pure; all of it is hostile input."""

import re
from dataclasses import dataclass

from workers.mirror.shelf import Asked

_WORD = r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79}"
_PATH = re.compile(
    rf"/v2/(?P<namespace>[A-Za-z0-9_][A-Za-z0-9_\-]{{0,79}})/(?P<model>{_WORD})/"
    rf"(?:manifests/(?P<tag>{_WORD})|blobs/(?P<digest>sha256[:-][0-9a-f]{{64}}))"
)
# No file has a quintillion bytes, and Python refuses to read numbers of thousands of digits.
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A manifest by its ``tag``, or a blob by its ``digest``; the other one is empty."""

    asked: Asked
    tag: str = ""
    digest: str = ""


class BadRange(ValueError):  # noqa: N818 - an answer, not an accident
    """No part of the file: 416."""


def parse_target(target: str, *, agent: str = "") -> Target | None:
    """Read a request's path; ``None`` for one that names nothing that could be here."""
    match = _PATH.fullmatch(target)
    if match is None:
        return None
    asked = Asked(namespace=match["namespace"], model=match["model"], path=target, agent=agent)
    digest = (match["digest"] or "").replace("-", ":")
    return Target(asked=asked, tag=match["tag"] or "", digest=digest)


def parse_range(text: str, size_bytes: int) -> tuple[int, int]:
    """Return the first byte and the one after the last. Raises ``BadRange``.

    Several ranges in one are no part either: who ignored them would send the wrong bytes.
    """
    match = _RANGE.fullmatch(text.strip())
    if match is None or not (match[1] or match[2]):
        raise BadRange(text)
    if match[1]:
        start, stop = int(match[1]), int(match[2]) + 1 if match[2] else size_bytes
    else:
        start, stop = max(0, size_bytes - int(match[2])), size_bytes
    stop = min(stop, size_bytes)
    if start >= stop:
        raise BadRange(text)
    return start, stop
