"""How the guide writes what no other page does."""

from django import template

register = template.Library()

GB = 1e9
# Above it a decimal tells nothing.
MANY_GB = 1000
SMALL_PERCENT = 0.1


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
def loss(value: object) -> str:
    """Write a KL divergence; nothing where nobody measured it."""
    return f"{value:.4f}" if isinstance(value, float) else ""
