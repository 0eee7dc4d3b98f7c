"""How the planner writes sizes, contexts, speeds and lists in its sentences."""

from collections.abc import Iterable, Sequence

from labdash.planner.lab import CPU
from labdash.planner.ollama import GIB, MIB

KIBI = 1024
# Smaller sizes are written in MiB, whose decimal would tell more than GiB's.
LEAST_GIB = 0.05
# From here on a decimal of a speed tells nothing.
MANY_TOKENS = 9.95
LONGEST_NAME = 200
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")


def gib(size_bytes: float) -> str:
    """Write bytes as ``2.1 GiB``, and small ones as ``30 MiB``."""
    if abs(size_bytes) < LEAST_GIB * GIB:
        return f"{size_bytes / MIB:.0f} MiB"
    return f"{size_bytes / GIB:.1f} GiB"


def bare_gib(size_bytes: float) -> str:
    """Write bytes in GiB where the sentence has named the unit before."""
    return f"{size_bytes / GIB:.1f}"


def tokens(ctx: int) -> str:
    """Write a context as people say it: ``16k``, or ``10,000``."""
    thousands, rest = divmod(ctx, KIBI)
    return f"{thousands}k" if thousands and not rest else f"{ctx:,}"


def rate(tokens_per_s: float) -> str:
    """Write a speed: ``34 tokens/s``."""
    digits = 0 if tokens_per_s >= MANY_TOKENS else 1
    return f"{tokens_per_s:.{digits}f} tokens/s"


def ordinal(number: int) -> str:
    """Write which one it is: ``second``."""
    return ORDINALS[number - 1] if number <= len(ORDINALS) else f"{number}th"


def layers(count: int) -> str:
    """Count layers: ``1 layer``."""
    return f"{count} layer{'' if count == 1 else 's'}"


def all_of(names: Iterable[str]) -> str:
    """Write a list: ``a, b and c``."""
    *others, last = list(names) or [""]
    return f"{', '.join(others)} and {last}" if others else last


def one_of(names: Sequence[str]) -> str:
    """Write alternatives: ``a, b or c``."""
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)


def device_name(device: str) -> str:
    """Write ``rog/cpu`` as the CPU of rog, and a GPU as it is."""
    node, _, which = device.rpartition("/")
    return f"the CPU of {node}" if which == CPU else device


def sentence(text: str) -> str:
    """Begin with a large letter, unless a name begins it."""
    return text[:1].upper() + text[1:] if text.startswith("the ") else text


def clause(text: str) -> str:
    """Begin with a small letter what follows a colon, unless a name begins it."""
    return text[:1].lower() + text[1:] if text.startswith(("A ", "Two ")) else text


def one_line(text: str) -> str:
    """Leave out what would end a line or hide in it, and cut what is too long for a name."""
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    return shown[:LONGEST_NAME]
