"""The door for other machines: what the runner's forwarder has open, and whether it shall."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.http.request import split_domain_port

from labdash.certificate import Certificate, own_certificate


@dataclass(frozen=True, kw_only=True)
class DoorState:
    """The ports that are open now, ``None`` where one is not; ``errors`` say why, by its name."""

    https_port: int | None = None
    store_port: int | None = None
    errors: dict[str, str] = field(default_factory=dict)


def wanted_file() -> Path:
    """Return the file whose existence makes the runner open the door."""
    return Path(settings.DATA_DIR) / "run" / "door-wanted"


def want(*, is_wanted: bool) -> None:
    """Ask the runner to open the door, or to close it. Raises ``OSError``."""
    path = wanted_file()
    if is_wanted and not path.exists():
        path.touch()
    elif not is_wanted:
        path.unlink(missing_ok=True)


def read_door() -> DoorState:
    """Return what is open now."""
    try:
        told = json.loads((Path(settings.DATA_DIR) / "run" / "door.json").read_text())
        ports = told["ports"]
        return DoorState(
            https_port=ports["https"], store_port=ports["store"], errors=told["errors"]
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return DoorState()


def https_address(host: str) -> str | None:
    """Return where the page that is open at ``host`` answers by HTTPS, if it does."""
    port = read_door().https_port
    domain, _ = split_domain_port(host)
    return f"https://{domain}:{port}" if port else None


def certificate() -> Certificate:
    """Return the hub's own certificate. Raises ``OSError``."""
    return own_certificate(Path(settings.DATA_DIR) / "tls")
