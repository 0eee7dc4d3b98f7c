"""The verdict before a pull as ``manage.py verdict --json`` prints it: scripts rely on this."""

from typing import Any

from labdash.planner.prospects import Prospect
from labdash.queries.before_pull import Cell, Row, Verdicts


def as_json(seen: Verdicts) -> dict[str, Any]:
    """Return the answer as plain values that JSON can hold."""
    return {
        "model": seen.question.name,
        "quant": seen.family.own,
        "context": seen.question.ctx,
        "room": seen.question.room,
        "sizes": seen.family.basis,
        "unreachable": seen.dead or None,
        "quants": [_row(row) for row in seen.rows],
    }


def _row(row: Row) -> dict[str, Any]:
    quality = row.offer.quality
    return {
        "quant": row.offer.variant.quant,
        "name": row.offer.name,
        "named": row.is_own,
        "published": row.published.state if row.published else "unknown",
        "file_bytes": row.offer.variant.file_bytes,
        "kl_divergence": quality.kld if quality else None,
        "perplexity_more": quality.delta_ppl_8b if quality else None,
        "servers": [_cell(cell) for cell in row.cells],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    fetch = cell.fetch
    return {
        "server": str(cell.column.instance),
        "best": cell.is_best,
        "installed": fetch.is_there,
        **_prospect(cell.shown),
        "fetch_bytes": fetch.bytes,
        "fetch_is_exact": fetch.is_exact,
        "source": fetch.giver.slug or fetch.giver.source.value,
        "seconds": None if fetch.seconds is None else round(fetch.seconds),
        "disk_after_bytes": fetch.room.after_bytes,
        "disk_has_room": fetch.room.fits,
    }


def _prospect(shown: Prospect) -> dict[str, Any]:
    return {
        "verdict": shown.verdict,
        "gpus": list(shown.gpus),
        "layers": shown.layers,
        "all_layers": shown.all_layers,
        "most_context": shown.most_ctx,
        "tokens_per_s": shown.tokens_per_s and round(shown.tokens_per_s, 1),
        "short_bytes": shown.short_bytes,
        "reason": shown.text or None,
    }
