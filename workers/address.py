"""Which addresses a request can be sent to at all."""

from urllib.parse import urlsplit

import httpx


def check_address(url: str) -> None:
    """Raise ``ValueError`` for an address that the resolver or the HTTP client chokes on."""
    parts = urlsplit(url)
    # The resolver raises UnicodeError, a ValueError, for what it cannot encode.
    host = (parts.hostname or "").encode("idna")
    if not host or parts.port == 0:
        raise ValueError("no host or no port")
    try:
        # The client encodes by a stricter rule than the resolver; only asking for the host does it.
        _ = httpx.URL(url).host
    except httpx.InvalidURL as error:
        raise ValueError(str(error)) from error
