"""Numbers in sentences that are stored or printed; pages have filters of their own."""

GIB = 2**30
# Line speeds are told in decimal units, as providers do.
MB = 10**6
MINUTE_S = 60
HOUR_S = 3600
DAY_S = 86400


def gib(size_bytes: int) -> str:
    """Write bytes in GiB with one decimal."""
    return f"{size_bytes / GIB:.1f} GiB"


def age(seconds: float) -> str:
    """Write a span in its largest unit, coarsely enough not to change at each look."""
    if seconds < MINUTE_S:
        return "less than a minute"
    if seconds < HOUR_S:
        return f"{seconds // MINUTE_S:.0f} min"
    if seconds < DAY_S:
        return f"{seconds // HOUR_S:.0f} h"
    days = seconds // DAY_S
    return "a day" if days == 1 else f"{days:.0f} days"
