"""OLLAMA_HOST, which tells a server where to listen, read as the address to ask.

Ollama itself adds the scheme and the port that are missing; so does this (``envconfig.Host``).
"""

import ipaddress

from labdash.env import MAX_PORT, BadSetting, shown

DEFAULT_PORT = 11434
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"


def url_from_ollama_host(text: str) -> str:
    """Return the URL under which a server started with this OLLAMA_HOST answers here."""
    scheme, found, rest = text.strip().strip("\"'").rpartition("://")
    scheme = scheme.lower() if found else "http"
    if scheme not in {"http", "https"}:
        raise BadSetting(f"OLLAMA_HOST={shown(text)}: write host:port or http://host:port")
    default = {"http": 80, "https": 443}[scheme] if found else DEFAULT_PORT
    host, port = _split(rest.partition("/")[0], default, text)
    return f"{scheme}://{_reachable(host)}:{port}"


def _split(address: str, default_port: int, text: str) -> tuple[str, int]:
    if address.count("[") != address.count("]"):
        raise BadSetting(f"OLLAMA_HOST={shown(text)}: write host:port or http://host:port")
    bare = address.strip("[]")
    if bare.count(":") > 1 and not address.endswith("]") and "]:" not in address:
        return bare, default_port
    host, colon, port = (address, "", "") if address.endswith("]") else _cut(address)
    if colon and not (port.isdecimal() and 0 < int(port) <= MAX_PORT):
        raise BadSetting(f"OLLAMA_HOST={shown(text)}: '{shown(port, within=text)}' is not a port")
    return host.strip("[]"), int(port) if port else default_port


def _cut(address: str) -> tuple[str, str, str]:
    host, colon, port = address.rpartition(":")
    return (host, colon, port) if colon else (address, "", "")


def _reachable(host: str) -> str:
    """Turn "all addresses" into the one by which this machine reaches itself."""
    try:
        address = ipaddress.ip_address(host or "127.0.0.1")
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"  # noqa: PLR2004 - of the address
    return f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004 - of the address
