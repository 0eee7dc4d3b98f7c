"""Where a node finds the hub's cache, or why it cannot pull from there."""

import logging
import socket
from urllib.parse import urlsplit

from django.conf import settings
from django.utils import timezone

from labdash import live
from labdash.domain.caching import publish, seal_of, secret_of
from labdash.hosts import is_loopback
from labdash.models import Instance, Membership, NodeKind, PullJob, PullSettings
from labdash.queries.cache import cached_as, read_state
from labdash.runner.listening import addresses, ipaddress_is_any
from labdash.wording import size
from workers.wire.caching import PLAIN_PORT, CacheState
from workers.wire.origins import MOST_HOSTS, Origin

log = logging.getLogger(__name__)

# Any port does: nothing is sent, the system only tells by which address it would be.
_ANY_PORT = 9
GIVER = "The hub's cache"


def cache_origin(job: PullJob) -> Origin | str:
    """Return where the node of a job finds its model in the cache, or why it does not.

    The cache then knows that the node may ask.
    """
    wanted = PullSettings.read()
    if not wanted.cache:
        return "The hub's cache is off."
    try:
        state = read_state()
        if reason := _why_not(job, state):
            return reason
        port = _port(job, state)
        if isinstance(port, str):
            return port
        hosts = hosts_for(job.instance)
        if not hosts:
            return f"No address is known by which {job.instance.node} would reach the hub."
        publish(wanted=wanted, now=timezone.now())
    except live.StoreDown:
        return "The hub's cache cannot be asked: the store does not answer."
    return Origin(giver=GIVER, hosts=hosts, port=port, secret=secret_of(job), seal=seal_of(job))


def _why_not(job: PullJob, state: CacheState | None) -> str:
    if state is None:
        return "The hub's cache does not run."
    name = cached_as(job.model)
    known = next((each for each in state.models if each.model == name), None)
    if known is not None and known.total_bytes:
        missing = known.total_bytes - known.here_bytes
    else:
        missing = job.total_bytes or 0
    if missing > state.room_bytes:
        return (
            f"The hub's cache has room for {size(state.room_bytes)}; {size(missing)} are missing."
        )
    return ""


def _port(job: PullJob, state: CacheState | None) -> int | str:
    """Return the port that the node can use: no name with one can be a folder on Windows."""
    ports, errors = (state.ports, state.errors) if state else ((), {})
    if job.instance.node.kind == NodeKind.WINDOWS:
        if PLAIN_PORT in ports:
            return PLAIN_PORT
        why = errors.get(str(PLAIN_PORT), "it is not open yet")
        return f"Windows machines pull from port {PLAIN_PORT} of the hub alone: {why}."
    own = next((port for port in ports if port != PLAIN_PORT), None)
    return (
        own or f"The port of the hub's cache is not open: {next(iter(errors.values()), 'not yet')}."
    )


def hosts_for(instance: Instance) -> tuple[str, ...]:
    """Return the hub's addresses as the machine of an Ollama server sees it, the likeliest first.

    The name of a model holds no address of IPv6.
    """
    there = urlsplit(instance.url).hostname or ""
    joined = Membership.objects.filter(node=instance.node).values_list("address", flat=True).first()
    is_here = bool(instance.node.started_with) or (instance.node.agentless and is_loopback(there))
    own = settings.LABDASH_HOST
    if own and not ipaddress_is_any(own):
        # What means this machine here would mean another one there.
        is_found = is_here or not is_loopback(own) or is_loopback(joined or "")
        return (own,) if is_found and ":" not in own else ()
    if is_here:
        return ("127.0.0.1",)
    told = [urlsplit(each).hostname or "" for each in addresses(None, 1)]
    found = [_address_towards(joined or there), *told]
    return tuple(dict.fromkeys(each for each in found if each and not is_loopback(each)))[
        :MOST_HOSTS
    ]


def _address_towards(host: str) -> str:
    """Return this machine's address on the way to another; nothing where no way is known."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, _ANY_PORT))
            return str(probe.getsockname()[0])
    except (OSError, UnicodeError) as error:
        log.info("no way to a node is known: %s", error)
        return ""
