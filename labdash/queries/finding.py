"""How the last look for Ollama servers in the network stands, and which of them the lab knows."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from labdash import live
from labdash.hosts import is_loopback
from labdash.models import Instance, Membership, Node
from labdash.queries.lab import LabView, NodeView
from labdash.runner.config import slug_from
from workers.wire.finding import BEAT_S, KEPT_S, TAKE_S, Found, FoundServer
from workers.wire.keys import find_wish_key, found_key

LOOK_KEY = "hub:find"
DEFAULT_PORTS = {"http": 80, "https": 443}

type LookState = Literal[
    "none", "waiting", "looking", "ended", "stopped", "late", "failed", "mute", "silent", "away"
]
ACTIVE = ("waiting", "looking")


class Asked(BaseModel):
    """A look that somebody asked for."""

    model_config = ConfigDict(frozen=True)

    find_id: str
    asked_at: datetime


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A server that was found. ``known_as`` is the node that it belongs to, if the lab has it."""

    server: FoundServer
    known_as: str

    @property
    def url(self) -> str:
        """Its address, as a node's."""
        return f"http://{self.server.address}:{self.server.port}"

    @property
    def slug(self) -> str:
        """A name for it as a node: that of its machine, or one by its address."""
        slug = slug_from(self.server.host_name or "")
        return f"ollama-{self.server.address.rpartition('.')[2]}" if slug == "hub" else slug


@dataclass(frozen=True, kw_only=True)
class LookView:
    """The last look. ``found`` is ``None`` until its worker began."""

    state: LookState
    found: Found | None = None
    hits: tuple[Hit, ...] = ()

    @property
    def is_active(self) -> bool:
        """Whether it goes on."""
        return self.state in ACTIVE

    @property
    def virtual(self) -> tuple[str, ...]:
        """The interfaces that lead only to containers and virtual machines."""
        return self._left_out("virtual")

    @property
    def tunnels(self) -> tuple[str, ...]:
        """The interfaces that are tunnels."""
        return self._left_out("tunnel")

    @property
    def public(self) -> tuple[str, ...]:
        """The addresses that are not private."""
        return self._left_out("public")

    @property
    def full(self) -> tuple[str, ...]:
        """The networks for which no address was left."""
        return self._left_out("full")

    def _left_out(self, why: str) -> tuple[str, ...]:
        left_out = self.found.left_out if self.found else ()
        return tuple(each.name for each in left_out if each.why == why)


def read_look(lab: LabView, *, now: datetime) -> LookView:
    """Return how the last look stands; ``away`` where the store does not answer."""
    try:
        with live.store_errors():
            pipe = live.store().pipeline(transaction=False)
            pipe.get(LOOK_KEY)
            pipe.get(found_key())
            pipe.ttl(found_key())
            pipe.exists(find_wish_key())
            asked, told, left_s, is_wanted = pipe.execute()
    except live.StoreDown:
        return LookView(state="away")
    look = _read(Asked, asked)
    if look is None:
        return LookView(state="none")
    found = _read(Found, told)
    if found is None or found.find_id != look.find_id:
        return LookView(state=_before(look, is_wanted=bool(is_wanted), now=now))
    # Its last word is as old as its key has lived: the clocks of two machines are not compared.
    is_silent = found.state == "looking" and KEPT_S - int(left_s) > BEAT_S
    hits = tuple(_hits(lab, found.servers))
    return LookView(state="silent" if is_silent else found.state, found=found, hits=hits)


def _read[M: BaseModel](kind: type[M], text: str | None) -> M | None:
    try:
        return kind.model_validate_json(text or "")
    except ValidationError:
        return None


def _before(look: Asked, *, is_wanted: bool, now: datetime) -> LookState:
    """Tell how a look stands of which its worker said nothing: it takes up no old wish."""
    if (now - look.asked_at).total_seconds() > TAKE_S:
        return "mute"
    return "waiting" if is_wanted else "stopped"


def _hits(lab: LabView, servers: Iterable[FoundServer]) -> Iterable[Hit]:
    joined_from = dict(Membership.objects.values_list("node_id", "address"))
    known = [
        (view, instance, joined_from.get(view.node.pk, ""))
        for view in lab.nodes
        for instance in view.node.instances.all()
    ]
    by_address = sorted(servers, key=lambda each: ipaddress.ip_address(each.address))
    for server in by_address:
        names = (view.node.slug for view, at, joined in known if _is(server, view, at, joined))
        yield Hit(server=server, known_as=next(names, ""))


def _is(server: FoundServer, view: NodeView, instance: Instance, joined_from: str) -> bool:
    """Tell whether a server that was found is one of the lab's."""
    parts = urlsplit(instance.url)
    if (parts.port or DEFAULT_PORTS.get(parts.scheme)) != server.port:
        return False
    host, name = parts.hostname or "", (server.host_name or "").lower()
    if not is_loopback(host):
        return host in {server.address, name}
    if _is_on_hub(view.node):
        return server.is_own or is_loopback(server.address)
    # A worker beside its Ollama: the address that it joined from, or what its machine is called.
    told = view.sample.host.hostname if view.sample else None
    return joined_from == server.address or bool(_names((told or "").lower()) & _names(name))


def _is_on_hub(node: Node) -> bool:
    return node.agentless or bool(node.started_with)


def _names(name: str) -> set[str]:
    return {name, name.partition(".")[0]} - {""}
