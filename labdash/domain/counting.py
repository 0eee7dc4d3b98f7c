"""How much of a pull is there, and how much that was there is gone. Pure; all in bytes.

What is done never falls while somebody looks: a worker that begins again tells layer by layer
what it finds. Once all layers are known again that were known before, what is missing was lost.
"""

from dataclasses import dataclass

# Layers that arrive at once are told by nobody, and the small ones among them do.
KNOWN_SHARE = 0.99


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What is known of a job.

    ``kept`` of ``kept_total`` was there before its worker began again, and nobody knows yet
    whether it still is.
    """

    done: int | None = None
    total: int | None = None
    arrived: int | None = None
    lost: int = 0
    kept: int | None = None
    kept_total: int | None = None


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a worker tells. ``arrived`` came since it began, ``found`` lay there then."""

    done: int | None = None
    total: int | None = None
    arrived: int | None = None
    found: int | None = None
    is_whole: bool = False


def count(known: Counted, told: Told) -> Counted:
    """Return what is known after a report."""
    kept, kept_total = known.kept, known.kept_total
    if _began_again(known, told) and kept is None:
        kept, kept_total = known.done, known.total
    lost, done = known.lost, _most(known.done, told.done)
    if kept is not None and _is_known_again(kept_total, told):
        gone = max(0, kept - (told.found or 0))
        lost += gone
        done = told.done if gone else done
        kept = kept_total = None
    total = known.total if told.total is None else told.total
    return Counted(
        done=total if told.is_whole and total is not None else done,
        total=total,
        arrived=known.arrived if told.arrived is None else told.arrived,
        lost=lost,
        kept=kept,
        kept_total=kept_total,
    )


def _began_again(known: Counted, told: Told) -> bool:
    """Tell whether a worker counts from nothing: what arrived never falls else."""
    return None not in (known.arrived, told.arrived) and (told.arrived or 0) < (known.arrived or 0)


def _is_known_again(kept_total: int | None, told: Told) -> bool:
    if told.found is None or told.total is None:
        return False
    return told.is_whole or told.total >= KNOWN_SHARE * (kept_total or 0)


def _most(one: int | None, other: int | None) -> int | None:
    return max((each for each in (one, other) if each is not None), default=None)
