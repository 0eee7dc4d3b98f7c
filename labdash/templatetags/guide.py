"""How the guide writes what no other page does."""

from collections.abc import Iterable
from typing import Protocol

from django import template

from labdash.catalog.models import find_model
from labdash.planner.speed import Speed
from labdash.queries.tag_names import hub_name

register = template.Library()

GB = 1e9
# Above it a decimal tells nothing.
MANY_GB = 1000
SMALL_PERCENT = 0.1
# Below it a decimal tells something.
FEW_TOKENS_PER_S = 10


class Published(Protocol):
    """A row of a table whose file has a name to pull."""

    @property
    def quant(self) -> str:
        """The file's type."""

    @property
    def guessed(self) -> bool:
        """Whether nobody has seen that name published."""


@register.filter
def guesses(rows: Iterable[Published]) -> str:
    """List the quants whose names to pull nobody has seen published; nothing where all are."""
    return ", ".join(dict.fromkeys(row.quant for row in rows if row.guessed))


@register.filter
def on_hub(name: str, quant: str) -> str:
    """Name the file on Hugging Face of a model: apps on phones know none of Ollama's tags."""
    return hub_name(find_model(name).model, quant, name)


@register.filter
def decimal_size(value: float | None) -> str:
    """Write bytes in the GB that files are sold in; nothing where they are not known."""
    if value is None:
        return ""
    size_gb = value / GB
    if size_gb >= MANY_GB:
        return f"{size_gb:,.0f} GB"
    return f"{size_gb:.1f} GB" if size_gb >= 1 else f"{size_gb:.2f} GB"


@register.filter
def small_percent(value: float | None) -> str:
    """Write a small share of one with as many digits as tell something."""
    if value is None:
        return ""
    share = 100 * value
    if share < 1e-3:  # noqa: PLR2004 - no digit of it tells anything
        return "under 0.001 %"
    return f"{share:.2f} %" if abs(share) < SMALL_PERCENT else f"{share:.1f} %"


@register.filter
def plainly(value: float) -> str:
    """Write a number with as many digits as it has."""
    return f"{value:g}"


@register.filter
def worse(value: float | None) -> str:
    """Write by how much something is worse; nothing where nobody measured it."""
    return f"+{small_percent(value)}" if value else ("0" if value is not None else "")


@register.filter
def loss(value: object) -> str:
    """Write a KL divergence; nothing where nobody measured it."""
    return f"{value:.4f}" if isinstance(value, float) else ""


@register.filter
def pace(speed: Speed) -> str:
    """Write a range of tokens a second as short as a narrow column needs it."""
    digits = 0 if speed.high >= FEW_TOKENS_PER_S else 1
    return f"{speed.low:.{digits}f}-{speed.high:.{digits}f}/s"
