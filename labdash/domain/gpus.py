"""What of a GPU the planner leaves to its owner."""

from labdash.domain.errors import LabDashError
from labdash.models import Gpu
from labdash.wording import size


def keep_for_owner(
    *, gpu: Gpu, reserve_bytes: int | None, margin_bytes: int | None, game_bytes: int | None
) -> None:
    """Store how much stays free, and when the card is given back by itself.

    Raises ``LabDashError`` where that is more than the card has.
    """
    check_amounts(
        gpu=gpu, reserve_bytes=reserve_bytes, margin_bytes=margin_bytes, game_bytes=game_bytes
    )
    rows = Gpu.objects.filter(pk=gpu.pk)
    rows.update(reserve_bytes=reserve_bytes or 0, margin_bytes=margin_bytes, game_bytes=game_bytes)
    if game_bytes != gpu.game_bytes:
        # Since when other programs held more is of the amount before.
        rows.update(game_since=None)
    gpu.refresh_from_db()


def check_amounts(
    *, gpu: Gpu, reserve_bytes: int | None, margin_bytes: int | None, game_bytes: int | None
) -> None:
    """Refuse more than the card has. Raises ``LabDashError``."""
    total = gpu.memory_total_bytes
    kept = (reserve_bytes or 0) + (margin_bytes or 0)
    if total is not None and kept > total:
        raise LabDashError(f"That is more than the card has: {size(kept)} of {size(total)}.")
    if total is not None and (game_bytes or 0) > total:
        raise LabDashError(f"Other programs cannot take that much: the card has {size(total)}.")
