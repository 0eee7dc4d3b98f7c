"""The line that makes a machine a node, as it is shown to be copied."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port

from labdash.certificate import Certificate
from labdash.door import DoorState, certificate, read_door
from labdash.hosts import is_loopback
from labdash.queries.lab import LabView, NodeView, read_lab
from labdash.runner.listening import addresses

# What fetches the same program where curl is missing: the certificate is compared before anything
# is asked, and nothing runs of what another machine sends.
PYTHON = (
    "python3 -c 'import hashlib,http.client as h,ssl,sys;"
    'c=h.HTTPSConnection("{host}",{port},timeout=30,context=ssl._create_unverified_context());'
    "c.connect();f=hashlib.sha256(c.sock.getpeercert(True)).hexdigest();"
    'f=="{fingerprint}" or sys.exit("another machine answers in the place of the hub");'
    'c.request("GET","/join/node.sh");sys.stdout.write(c.getresponse().read().decode())\''
)


@dataclass(frozen=True, kw_only=True)
class JoinLines:
    """One line, twice: by curl, and by Python's standard library where curl is missing.

    ``other_hosts`` are further addresses of the hub, for a machine that cannot reach this one.
    """

    curl: str
    python: str
    other_hosts: tuple[str, ...]


def join_lines(token: str, *, asked_by: str) -> JoinLines:
    """Return what to run on the machine. ``asked_by`` is the Host by which the page was opened."""
    hosts = hub_hosts(asked_by)
    own, port = certificate(), int(settings.LABDASH_TLS_PORT or 0)
    return JoinLines(
        curl=f"{_curl(hosts[0], port, own)} | {_run(token)}",
        python=f"{_python(hosts[0], port, own)} | {_run(token)}",
        other_hosts=tuple(hosts[1:]),
    )


def _curl(host: str, port: int, own: Certificate) -> str:
    url = f"https://{_in_url(host)}:{port}/join/node.sh"
    return f"curl -fsSk --pinnedpubkey 'sha256//{own.pin}' {url}"


def _python(host: str, port: int, own: Certificate) -> str:
    return (
        PYTHON.replace("{host}", host)
        .replace("{port}", str(port))
        .replace("{fingerprint}", own.fingerprint)
    )


def _run(token: str) -> str:
    return f"LABDASH_JOIN='{token}' sh"


def hub_hosts(asked_by: str) -> list[str]:
    """Return how other machines may reach this hub, the likeliest first."""
    own = [urlsplit(each).hostname or "" for each in addresses(settings.LABDASH_HOST, 1)]
    asked = split_domain_port(asked_by)[0].strip("[]")
    reachable = [host for host in (asked, *own) if not is_loopback(host)]
    return list(dict.fromkeys(reachable)) or [asked]


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True, kw_only=True)
class JoinPage:
    """A node that is to be joined: what is known of it, and whether the door is open."""

    lab: LabView
    view: NodeView
    door: DoorState


def read_join(slug: str, *, now: datetime) -> JoinPage | None:
    """Return what the page of joining shows; ``None`` for a node that is not there."""
    lab = read_lab(now=now)
    view = next((each for each in lab.nodes if each.node.slug == slug), None)
    return None if view is None else JoinPage(lab=lab, view=view, door=read_door())
