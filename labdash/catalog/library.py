"""Which tags Ollama's library was seen to have: of each model's own tag, those of its quants.

Seen on the day that the file tells, with its source. What a server or a registry says since is
truer. Where a quant's full tag holds the same file as the model's own tag, only that was kept.
"""

from collections.abc import Mapping
from functools import cache

from labdash.catalog.files import read_json


def tags_seen(own: str) -> frozenset[str]:
    """Return the names seen of a model, by its own tag; none where nobody looked for it."""
    return _seen().get(own, frozenset())


def is_seen(name: str) -> bool:
    """Tell whether the library was seen to have a name."""
    return name in _all_seen()


@cache
def _seen() -> Mapping[str, frozenset[str]]:
    tags: Mapping[str, str] = read_json("library_tags.json")["tags"]
    return {
        own: frozenset(f"{own.partition(':')[0]}:{tag}" for tag in found.split())
        for own, found in tags.items()
    }


@cache
def _all_seen() -> frozenset[str]:
    return frozenset().union(*_seen().values())
