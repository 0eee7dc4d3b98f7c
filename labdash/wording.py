"""How sizes, speeds and spans are written, on pages, in sentences and in a terminal."""

MIB = 2**20
GIB = 2**30
TIB = 2**40
MINUTE_S = 60
HOUR_S = 3600
DAY_S = 86400


def size(size_bytes: float) -> str:
    """Write bytes with the unit that suits: MiB, GiB or TiB."""
    if size_bytes < 0.05 * GIB:
        return f"{size_bytes / MIB:.0f} MiB"
    if size_bytes < 99.95 * GIB:
        return f"{size_bytes / GIB:.1f} GiB"
    return f"{size_bytes / GIB:.0f} GiB" if size_bytes < TIB else f"{size_bytes / TIB:.1f} TiB"


def speed(bytes_per_s: float) -> str:
    """Write a speed in the unit of the sizes, so that the time left can be reckoned."""
    digits = 0 if bytes_per_s >= 9.5 * MIB else 1
    return f"{bytes_per_s / MIB:.{digits}f} MiB/s"


def age(seconds: float) -> str:
    """Write a span in its largest unit, coarsely enough not to change at each look."""
    if seconds < MINUTE_S:
        return "less than a minute"
    if seconds < HOUR_S:
        return f"{seconds // MINUTE_S:.0f} min"
    if seconds < DAY_S:
        return f"{seconds // HOUR_S:.0f} h"
    days = seconds // DAY_S
    return "1 day" if days == 1 else f"{days:.0f} days"


def lasted(seconds: float) -> str:
    """Write a span as ``age`` does, but below a minute in seconds."""
    return f"{max(0.0, seconds) // 1:.0f} s" if seconds < MINUTE_S else age(seconds)
