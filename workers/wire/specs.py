"""What the hub tells a node worker about the nodes that it serves."""

from workers.values import Text
from workers.wire.base import PROTOCOL_VERSION, InstanceUrl, Message, Protocol, Slug


class InstanceSpec(Message):
    """One Ollama server. ``url`` is its root, without a path."""

    name: str
    url: InstanceUrl


class DeclaredGpu(Message):
    """A GPU that nobody can measure, as its owner described it."""

    name: str
    memory_total_bytes: int
    unified: bool = False


class DeclaredHardware(Message):
    """The hardware of an agentless node."""

    ram_total_bytes: int | None = None
    gpus: tuple[DeclaredGpu, ...] = ()


class NodeSpec(Message):
    """A node as the hub wants it served. ``declared`` is set for agentless nodes only."""

    protocol: Protocol = PROTOCOL_VERSION
    slug: Slug
    instances: tuple[InstanceSpec, ...] = ()
    declared: DeclaredHardware | None = None


class JoinRequest(Message):
    """What a machine says with its token. ``ollama_urls`` are separated by commas."""

    token: Text
    hostname: Text = ""
    ollama_urls: Text = ""
