"""A second Ollama on a node: what it is called, what it sees, and the lines that make it."""

from collections.abc import Iterator, Sequence

from labdash.planner.lab import Instance, Node
from labdash.planner.placing.engine import is_true
from labdash.planner.telling.sight import HIDING, only_lines

USUAL_PORT = 11434
MOST_PORT = 65535
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# A server removes at its start what is of no model and older than an hour: half downloaded files of
# another one of the same folder too. One of them goes on tidying up, or the disk fills.
KEEPS_FILES = "OLLAMA_NOPRUNE"
KEEP_FILES = f"{KEEPS_FILES}=1"
OWN = ("OLLAMA_HOST", KEEPS_FILES)


def second_instance(node: Node, gpus: Sequence[int], *, like: Instance | None = None) -> Instance:
    """Make a server beside another, or a node's first one, with the same files and settings."""
    first = like or node.instances[0]
    port = _free_port(node)
    return Instance(
        name=_name(node, port),
        version=first.version,
        build=first.build,
        gpus=tuple(gpus),
        env=first.env,
        installed=first.installed,
        blobs=first.blobs,
        url=f"http://{_host(first.url)}:{port}",
    )


def lines_of(node: Node, instance: Instance) -> tuple[str, ...]:
    """Write what its environment has to hold, the settings that it takes over among it."""
    host, port = _host(instance.url), _port(instance)
    bind = host if host in LOOPBACK else "0.0.0.0"  # noqa: S104 - as the first one listens
    seen = only_lines(node, instance)
    return (f"OLLAMA_HOST={bind}:{port}", *_carried(instance), *seen, KEEP_FILES)


def shared_folder(first: Instance) -> str:
    """Say what one folder of models for several servers asks of each of them."""
    text = (
        "The servers may share one folder of models (the same OLLAMA_MODELS and user), so that"
        " nothing is stored twice. Ollama removes at its start what belongs to no model there and"
        " is older than an hour, the half downloaded files of another server among it:"
        f" {KEEP_FILES} keeps the new from that"
    )
    if not is_true(first.env, KEEPS_FILES, default=False):
        text += f", and {first.name} goes on tidying up: restart it only while none downloads"
    return f"{text}. For a folder of its own leave that line out."


def _carried(instance: Instance) -> Iterator[str]:
    for name, value in sorted(instance.env.items()):
        is_setting = name.startswith(("OLLAMA_", "LLAMA_ARG_"))
        if is_setting and name not in (*OWN, *HIDING) and value.isprintable():
            yield f"{name}={value}"


def _name(node: Node, port: int) -> str:
    """Name it as its siblings are: by the node and the port, or within the node."""
    first = node.instances[0].name
    separator = "/" if first.startswith(f"{node.name}/") else ":"
    return f"{node.name}{separator}{port}"


def _free_port(node: Node) -> int:
    taken = {_port(each) for each in node.instances}
    names = {each.name for each in node.instances}
    port = max([*taken, USUAL_PORT]) + 1
    while _name(node, port) in names:
        port += 1
    return min(port, MOST_PORT)


def _port(instance: Instance) -> int:
    digits = instance.url.rstrip("/").rpartition(":")[2] or instance.name.rpartition(":")[2]
    if digits.isascii() and digits.isdigit() and 0 < len(digits) <= len(str(MOST_PORT)):
        return int(digits)
    return USUAL_PORT


def _host(url: str) -> str:
    host = url.partition("://")[2].partition("/")[0]
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host) or "127.0.0.1"
