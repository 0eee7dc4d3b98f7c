"""Where an instance runs, and what its machine knows about it besides the HTTP API."""

import ipaddress
import shutil
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import urlsplit

import psutil

from workers.engines.settings import read_settings
from workers.gpus.base import HardwareSource
from workers.gpus.simulated import SimulatedSource
from workers.shelf import StoreFiles
from workers.wire import DiskReading, Setting

type Home = Literal["process", "container", "remote"]
type Listens = Literal["loopback", "network"]
# The address of a listening socket and the process that holds it.
type _Socket = tuple[str, int | None]

# Looking through all processes and sockets costs milliseconds to tens of them.
LOOK_EVERY_S = 15.0

_PROGRAMS = (
    "/usr/local/bin/ollama",
    "/usr/bin/ollama",
    "/opt/homebrew/bin/ollama",
    "/Applications/Ollama.app/Contents/Resources/ollama",
    "~/.local/bin/ollama",
    "~/AppData/Local/Programs/Ollama/ollama.exe",
)
# Where OLLAMA_MODELS points unless it is set; the one of the Linux service first.
_STORES = ("/usr/share/ollama/.ollama/models", "/var/lib/ollama/models", "~/.ollama/models")
_CONTAINER_MARKS = ("docker", "libpod", "containerd", "kubepods", "lxc", "podman")
# Programs that hold a published port for a container.
_PORT_HOLDERS = frozenset({"docker-proxy", "rootlessport", "conmon", "slirp4netns", "pasta"})


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """``home`` is where the server seems to run, provided that it answers.

    ``store`` is read from its process. ``usual_store`` is where one would lie, and set only
    while no server is to be seen on this machine that might have another one. ``listens`` is who
    can reach its port, firewalls left aside. ``server_pid`` is the process, where it is known, and
    ``settings`` what that was started with.
    """

    home: Home | None = None
    installed: bool | None = None
    listens: Listens | None = None
    store: Path | None = None
    usual_store: Path | None = None
    server_pid: int | None = None
    settings: tuple[Setting, ...] | None = None


class Place(Protocol):
    """What can be told about an instance from where the worker runs."""

    def look(self) -> Surroundings: ...

    def disk(self, told: str | None) -> DiskReading | None:
        """Measure under the store; ``told`` is the one that the server itself names."""
        ...

    def files(self, told: str | None) -> StoreFiles | None:
        """Return what reads the store, where it lies on this machine and is known."""
        ...


class Elsewhere:
    """Another machine: only its port is to be seen."""

    def look(self) -> Surroundings:
        """Return that it is remote."""
        return Surroundings(home="remote")

    def disk(self, told: str | None) -> DiskReading | None:  # noqa: ARG002 - the Protocol's
        """Nothing tells of another machine's disk."""
        return None

    def files(self, told: str | None) -> StoreFiles | None:  # noqa: ARG002 - the Protocol's
        """Nothing of another machine can be read."""
        return None


class Simulated:
    """A machine of the simulated lab, whose port is one of this machine."""

    def __init__(self, source: HardwareSource, url: str) -> None:
        self._source = source
        self._port = _port_of(url)
        self._listens: Listens | None = None

    def look(self) -> Surroundings:
        """Return that it runs as a process, as the simulation has it."""
        self._listens = self._listens or _listens(_sockets(self._port))
        source = self._source
        settings = source.settings(self._port) if isinstance(source, SimulatedSource) else None
        return Surroundings(
            home="process", installed=True, listens=self._listens, settings=settings
        )

    def disk(self, told: str | None) -> DiskReading | None:  # noqa: ARG002 - the Protocol's
        """Return the simulated disk."""
        return self._source.read().disk

    def files(self, told: str | None) -> StoreFiles | None:  # noqa: ARG002 - the Protocol's
        """Return what reads the simulated store."""
        return self._source.files(self._port) if isinstance(self._source, SimulatedSource) else None

    def log(self) -> list[str]:
        """Return what the simulated server wrote down last."""
        return self._source.log(self._port) if isinstance(self._source, SimulatedSource) else []


class Here:
    """This machine: its processes, programs and folders."""

    def __init__(self, url: str) -> None:
        self._port = _port_of(url)
        self._newest = Surroundings()
        self._is_hidden = False
        self._look_again_at = 0.0

    def look(self) -> Surroundings:
        """Look around, at most every ``LOOK_EVERY_S``."""
        if time.monotonic() >= self._look_again_at:
            self._newest = self._look()
            self._look_again_at = time.monotonic() + LOOK_EVERY_S
        return self._newest

    def disk(self, told: str | None) -> DiskReading | None:
        """Measure the file system under the model store, where the store is known."""
        files = self.files(told)
        return disk_under(files.folder) if files else None

    def files(self, told: str | None) -> StoreFiles | None:
        """Read the store of the server's process, else the one that it names, else the usual."""
        seen = self.look()
        if self._is_hidden:
            return None
        # What a server in a container names need not be on this machine.
        named = Path(told) if told and _exists(Path(told)) else None
        folder = seen.store or named or seen.usual_store
        return StoreFiles(folder) if folder else None

    def _look(self) -> Surroundings:
        servers = [process for process in _ollama_processes() if not _in_container(process)]
        sockets = _sockets(self._port)
        holder = _holder(sockets)
        home = _home(holder, servers)
        self._is_hidden = home == "container" and bool(sockets)
        server = _server(holder, servers)
        return Surroundings(
            home=home,
            installed=is_installed(),
            listens=_listens(sockets),
            store=None if self._is_hidden else _find_store(holder, servers),
            usual_store=None if servers or self._is_hidden else _usual_store(),
            server_pid=server.pid if server else None,
            settings=read_settings(server) if server else None,
        )


class Named:
    """A machine known by an address that may not be found yet, as while a network comes up."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._place: Here | Elsewhere | None = None

    def look(self) -> Surroundings:
        """Look around once it is known where."""
        place = self._find()
        return place.look() if place else Surroundings()

    def disk(self, told: str | None) -> DiskReading | None:
        """Measure the disk once it is known where."""
        place = self._find()
        return place.disk(told) if place else None

    def files(self, told: str | None) -> StoreFiles | None:
        """Read the store once it is known where."""
        place = self._find()
        return place.files(told) if place else None

    def _find(self) -> Here | Elsewhere | None:
        if self._place is None:
            is_own = is_own_address(urlsplit(self._url).hostname or "")
            if is_own is not None:
                self._place = Here(self._url) if is_own else Elsewhere()
        return self._place


def choose_place(url: str, *, is_agentless: bool, simulation: HardwareSource | None) -> Place:
    """Return how an instance is looked at: simulated, on this machine or on another one."""
    if simulation is not None:
        return Simulated(simulation, url)
    return Elsewhere() if is_agentless else Named(url)


def server_pid(url: str) -> int | None:
    """Return the process that serves an address of this machine, where it can be told."""
    holder = _holder(_sockets(_port_of(url)))
    if holder is not None:
        return None if _holds_for_container(holder) else holder.pid
    server = _server(None, [each for each in _ollama_processes() if not _in_container(each)])
    return server.pid if server else None


def _home(holder: psutil.Process | None, servers: list[psutil.Process]) -> Home:
    if holder is not None:
        return "container" if _holds_for_container(holder) else "process"
    # Whose port it is, only root may know; an Ollama process of this machine is a good guess.
    return "process" if servers else "container"


def is_own_address(host: str) -> bool | None:
    """Tell whether a name or an address is one of this machine's; ``None`` while not found."""
    own = {"127.0.0.1", "::1"}
    for addresses in psutil.net_if_addrs().values():
        own |= {address.address.partition("%")[0] for address in addresses}
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return None
    return any(str(entry[4][0]) in own for entry in found)


def is_installed() -> bool:
    """Tell whether an ``ollama`` program lies on this machine."""
    return bool(shutil.which("ollama")) or any(
        Path(path).expanduser().exists() for path in _PROGRAMS
    )


def disk_under(store: Path) -> DiskReading | None:
    """Measure the file system of a folder, through its parent where it may not be entered."""
    for folder in (store, *store.parents):
        try:
            usage = shutil.disk_usage(folder)
        except (FileNotFoundError, PermissionError):
            continue
        except OSError:
            return None
        return DiskReading(path=str(store), total_bytes=usage.total, free_bytes=usage.free)
    return None


def _ollama_processes() -> list[psutil.Process]:
    wanted = {"ollama", "ollama.exe"}
    return [process for process in psutil.process_iter(["name"]) if process.info["name"] in wanted]


def _in_container(process: psutil.Process) -> bool:
    """Tell by the control group, which Linux lets everybody read."""
    if sys.platform != "linux":
        return False
    try:
        groups = Path(f"/proc/{process.pid}/cgroup").read_text()
        own = Path("/proc/self/cgroup").read_text()
    except OSError:
        return False
    return is_container_group(groups, own=own)


def is_container_group(groups: str, *, own: str) -> bool:
    """Judge a ``/proc/<pid>/cgroup``; a worker's own container is its machine."""
    return groups != own and any(mark in groups for mark in _CONTAINER_MARKS)


def _holds_for_container(process: psutil.Process) -> bool:
    try:
        return process.name() in _PORT_HOLDERS or _in_container(process)
    except psutil.NoSuchProcess:
        return False


def _listens(sockets: list[_Socket]) -> Listens | None:
    """Tell whether a port is open to other machines; ``None`` where nobody is seen to listen."""
    if not sockets:
        return None
    addresses = [ipaddress.ip_address(ip.partition("%")[0]) for ip, _ in sockets]
    return "loopback" if all(address.is_loopback for address in addresses) else "network"


def _port_of(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or {"http": 80, "https": 443}[parts.scheme]


def _sockets(port: int) -> list[_Socket]:
    """Return where a port is listened to, and by whom; ``None`` is who only root may see."""
    try:
        sockets = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return []
    return [
        (entry.laddr.ip, entry.pid)
        for entry in sockets
        if entry.status == psutil.CONN_LISTEN and entry.laddr and entry.laddr.port == port
    ]


def _holder(sockets: list[_Socket]) -> psutil.Process | None:
    try:
        return next((psutil.Process(pid) for _, pid in sockets if pid), None)
    except psutil.Error:
        return None


def _find_store(holder: psutil.Process | None, servers: list[psutil.Process]) -> Path | None:
    """Ask the server on this port; where that is not known, all must have the same store."""
    asked = [holder] if holder is not None and holder in servers else servers
    stores = {_store_of(process) for process in asked}
    return stores.pop() if len(stores) == 1 else None


def _server(holder: psutil.Process | None, servers: list[psutil.Process]) -> psutil.Process | None:
    """Return the server on this port; where only root may know it, the only one that there is."""
    if holder is not None:
        return holder if holder in servers else None
    alone = [process for process in servers if _serves(process)]
    return alone[0] if len(alone) == 1 else None


def _serves(process: psutil.Process) -> bool:
    """Tell a server from a client and from a runner, which have the same program before 0.30."""
    try:
        return "serve" in process.cmdline()
    except psutil.Error:
        return False


def _usual_store() -> Path:
    folders = [Path(path).expanduser() for path in _STORES]
    # Where none is there yet: the one that Ollama's installer will make.
    first = folders[0] if sys.platform == "linux" else folders[-1]
    return next((folder for folder in folders if _exists(folder)), first)


def _store_of(process: psutil.Process) -> Path | None:
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return None
    if path := environment.get("OLLAMA_MODELS"):
        return Path(path)
    home = environment.get("HOME") or environment.get("USERPROFILE")
    return Path(home) / ".ollama/models" if home else None


def _exists(folder: Path) -> bool:
    try:
        folder.stat()
    except PermissionError:
        return True  # a store that only its owner may enter
    except OSError:
        return False
    return True
