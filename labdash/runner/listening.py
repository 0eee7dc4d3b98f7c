"""The web page's sockets, and the addresses to tell the user.

The runner itself listens and hands the sockets on: a port in use is seen before anything starts,
and while the web process is being restarted a browser waits instead of being refused.
"""

import errno
import fcntl
import ipaddress
import socket
import struct
from pathlib import Path

from labdash.env import BadSetting, shown
from labdash.runner.errors import CannotStart

BACKLOG = 256
SIOCGIFADDR = 0x8915
# Interfaces that only lead to containers and virtual machines of this very machine.
INNER = ("lo", "docker", "br-", "veth", "virbr", "cni", "flannel", "podman")


def listen(host: str | None, port: int) -> list[socket.socket]:
    """Listen on one address, or on all of this machine, IPv6 where it has that."""
    try:
        return _listen_on_all(port) if host is None else _listen_at(host, port)
    except OSError as error:
        place = f"port {port}" if host is None else f"--host {shown(host)}"
        raise CannotStart(f"{place} cannot be listened on: {error.strerror}") from error


def listen_inside(path: Path) -> socket.socket:
    """Listen on a Unix socket that only this user's processes reach (by the folder it is in)."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotStart(f"{path} cannot be listened on: {error.strerror}") from error
    return listener


def _listen_at(host: str, port: int) -> list[socket.socket]:
    return [_listen_on(family, address) for family, address in _resolve(host, port)]


def _listen_on_all(port: int) -> list[socket.socket]:
    sockets = [_listen_on(socket.AF_INET, ("0.0.0.0", port))]  # noqa: S104 - it is for the LAN
    if socket.has_ipv6:
        try:
            sockets.append(_listen_on(socket.AF_INET6, ("::", port)))
        except OSError as error:
            if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
                raise
    return sockets


def _resolve(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotStart(f"--host {shown(host)}: {error.strerror}") from error
    except UnicodeError as error:
        raise BadSetting(f"--host {shown(host)}: no name of a machine is written so") from error
    return list(dict.fromkeys((int(family), (str(at[0]), port)) for family, _, _, _, at in found))


def _listen_on(family: int, address: tuple[str, int]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _explained(error, address) from error
    return listener


def _explained(error: OSError, address: tuple[str, int]) -> Exception:
    host, port = address
    if error.errno == errno.EADDRINUSE:
        return CannotStart(f"port {port} is in use by another program: choose one with --port")
    if error.errno == errno.EACCES:
        return CannotStart(f"port {port} is only for root: choose one above 1023 with --port")
    if error.errno == errno.EADDRNOTAVAIL and host not in {"::", "0.0.0.0"}:  # noqa: S104 - compared
        return CannotStart(f"--host {host} is not an address of this machine")
    return error


def addresses(host: str | None, port: int) -> list[str]:
    """Return the URLs under which the page can be opened, this machine's own first."""
    if host is not None and not ipaddress_is_any(host):
        return [f"http://{f'[{host}]' if ':' in host else host}:{port}"]
    names = ["localhost", *_lan_addresses()]
    if Path("/run/avahi-daemon/socket").exists():
        names.append(f"{socket.gethostname().partition('.')[0]}.local")
    return [f"http://{name}:{port}" for name in names]


def ipaddress_is_any(host: str) -> bool:
    """Tell whether an address stands for all addresses of a machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _lan_addresses() -> list[str]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            if name.startswith(INNER):
                continue
            try:
                answer = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # this interface has no IPv4 address
            found.append(socket.inet_ntoa(answer[20:24]))
    return found
