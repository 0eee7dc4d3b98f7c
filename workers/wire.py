"""Every message between hub and node.

Orders go down as Celery tasks whose only argument is one of the ``…Order`` messages as a dict.
Reports come up as entries ``{"report": <JSON>}`` on the stream ``node:<slug>:reports``.
A value that could not be read is ``None``, never 0.

Both sides build what they send of what others wrote: drivers, Ollama, file names. So texts of
reports are cut and cleaned, what may be unknown and makes no sense is unknown, and an entry of a
list that makes no sense is left out of it.
"""

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
)

from workers.values import Count, Each, Figure, Identity, Maybe, Medium, Moment, Name, Small, Text

PROTOCOL_VERSION = 1

# What no version of LabDash will reach: other numbers are noise.
HIGHEST_PROTOCOL = 9999

# What a machine can hold, with room; more is noise that would fill the database.
MOST_GPUS = 64
MOST_PROCESSES = 1000
MOST_INSTANCES = 100
MOST_LOADED = 250
MOST_MODELS = 10_000

# No slug holds an "@" or a ":", so "@hub" and a key's separator can never be mistaken for one.
HUB_NODE = "@hub"

Protocol = Annotated[int, Field(strict=True, ge=1, le=HIGHEST_PROTOCOL)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,49}$")]
# Where models may come from: an order must not make a node open an arbitrary address.
MODEL_HOSTS = ("registry.ollama.ai", "hf.co", "huggingface.co")
# [[host/]namespace/]model[:tag], parts of 80 characters, as Ollama's grammar has it.
ModelName = Annotated[
    str,
    StringConstraints(
        pattern=r"^((registry\.ollama\.ai|hf\.co|huggingface\.co)/[A-Za-z0-9_][A-Za-z0-9_\-]{0,79}/"
        r"|[A-Za-z0-9_][A-Za-z0-9_\-]{0,79}/)?"
        r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79}(:[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79})?$",
        max_length=350,
    ),
]
InstanceUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/@?#]+$", max_length=300)]


def orders_queue(slug: str) -> str:
    """Name the Celery queue of a node."""
    return f"node:{slug}:orders"


def reports_key(slug: str) -> str:
    """Name the stream on which a node reports."""
    return f"node:{slug}:reports"


def spec_key(slug: str) -> str:
    """Name the key that holds the ``NodeSpec`` of a node, written by the hub."""
    return f"node:{slug}:spec"


def hub_nodes_key() -> str:
    """Name the key that holds the list of ``NodeSpec`` served from the hub."""
    return f"node:{HUB_NODE}:nodes"


def watched_key(slug: str) -> str:
    """Name the short-lived key that exists while somebody looks at the node's pages."""
    return f"node:{slug}:watched"


def cancel_key(slug: str, job_id: int) -> str:
    """Name the key whose existence asks the node to stop a job."""
    return f"node:{slug}:cancel:{job_id}"


class Message(BaseModel):
    """A frozen value. Unknown fields are dropped: the other side may be one version newer."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


# --- what the hub tells a node worker about the nodes that it serves -------------------------


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


# --- joining ----------------------------------------------------------------------------------


class JoinRequest(Message):
    """What a machine says with its token. ``ollama_urls`` are separated by commas."""

    token: Text
    hostname: Text = ""
    ollama_urls: Text = ""


# --- orders -----------------------------------------------------------------------------------


class Order(Message):
    """What every order carries."""

    protocol: Protocol = PROTOCOL_VERSION
    node: Slug


class PullOrder(Order):
    """Pull ``model`` on ``instance_url``. ``attempt`` grows when the hub sends a job again."""

    job_id: int
    attempt: int
    instance: str
    instance_url: InstanceUrl
    model: ModelName
    deadline_s: float


class RefreshOrder(Order):
    """Read and report the whole inventory now."""


# --- reports: hardware ------------------------------------------------------------------------


class GpuProcess(Message):
    """A process that holds memory of a GPU. ``model`` is set for a runner of Ollama."""

    pid: Count
    name: Maybe[Text] = None
    used_bytes: Maybe[Count] = None
    model: Maybe[Name] = None


class GpuReading(Message):
    """One GPU at one moment. ``uuid`` is its identity; ``index`` may change between boots.

    ``memory_used_bytes`` leaves out ``memory_reserved_bytes`` where the driver tells them apart
    (then total = used + free + reserved), else it holds both and reserved is ``None``.
    ``unified`` memory is the part of RAM that the GPU may use.
    """

    uuid: Identity
    index: Small
    name: Maybe[Text] = None
    pci_id: Maybe[Text] = None
    source: Literal["nvml", "amdgpu", "declared", "simulated"]
    state: Literal["ok", "lost", "error"] = "ok"
    reason: Maybe[Text] = None
    unified: bool = False
    memory_total_bytes: Maybe[Count] = None
    memory_used_bytes: Maybe[Count] = None
    memory_free_bytes: Maybe[Count] = None
    memory_reserved_bytes: Maybe[Count] = None
    utilization_percent: Maybe[Small] = None
    temperature_celsius: Maybe[Annotated[int, Field(ge=-273, lt=2**15)]] = None
    power_watts: Maybe[Figure] = None
    power_limit_watts: Maybe[Figure] = None
    clock_graphics_mhz: Maybe[Medium] = None
    clock_memory_mhz: Maybe[Medium] = None
    throttle_reasons: Maybe[Annotated[tuple[Text, ...], Field(max_length=100)]] = None
    processes: Maybe[Annotated[tuple[Each[GpuProcess], ...], Field(max_length=MOST_PROCESSES)]] = (
        None
    )


class DriverReading(Message):
    """The GPU driver as a whole.

    ``missing``: no NVML library. ``not_loaded``: library without kernel module. ``mismatch``:
    updated, a reboot is due. ``none``: hardware is declared, there is nothing to read.
    ``cards_seen`` counts NVIDIA cards on the bus where the driver is missing.
    """

    state: Literal["ok", "missing", "not_loaded", "mismatch", "error", "none"]
    version: Maybe[Text] = None
    reason: Maybe[Text] = None
    cards_seen: Maybe[Small] = None


class HostReading(Message):
    """The machine around the GPUs."""

    hostname: Maybe[Text] = None
    system: Maybe[Literal["linux", "windows", "mac"]] = None
    ram_total_bytes: Maybe[Count] = None
    ram_used_bytes: Maybe[Count] = None
    cpu_percent: Maybe[Figure] = None


class DiskReading(Message):
    """The file system under an instance's model store."""

    path: Text
    total_bytes: Count
    free_bytes: Count


# --- reports: Ollama --------------------------------------------------------------------------


class LoadedModel(Message):
    """An entry of ``/api/ps``. ``context_length`` counts tokens per slot."""

    name: Name
    digest: Text
    size_bytes: Count
    size_vram_bytes: Maybe[Count]
    context_length: Maybe[Medium] = None
    expires_at: Maybe[Moment] = None


class InstanceReading(Message):
    """One Ollama server at one moment.

    ``refused``: the machine answers and nothing listens. ``unreachable``: no answer at all.
    ``home``: where the server seems to run; ``container``: its port answers on this machine, but
    neither its process nor its files are to be seen. ``installed``: whether an ``ollama``
    program lies on this machine (``None`` where that cannot be told).
    """

    name: Text
    url: Text
    state: Literal["ok", "refused", "unreachable", "timeout", "error"]
    reason: Maybe[Text] = None
    version: Maybe[Text] = None
    home: Maybe[Literal["process", "container", "remote"]] = None
    installed: Maybe[bool] = None
    loaded: Maybe[Annotated[tuple[Each[LoadedModel], ...], Field(max_length=MOST_LOADED)]] = None
    disk: Maybe[DiskReading] = None


class Sample(Message):
    """What a node looks like now: every 5 s, every 1 s while somebody looks."""

    kind: Literal["sample"] = "sample"
    protocol: Protocol = PROTOCOL_VERSION
    node: Slug
    sent_at: Moment
    worker_version: Text
    driver: DriverReading
    gpus: Annotated[tuple[Each[GpuReading], ...], Field(max_length=MOST_GPUS)]
    host: HostReading
    instances: Annotated[tuple[Each[InstanceReading], ...], Field(max_length=MOST_INSTANCES)]


class InstalledModel(Message):
    """A name in ``/api/tags`` with what ``/api/show`` adds to it.

    ``digest`` is that of the manifest; ``blob_digest`` that of the weights, by which names that
    share one file are told. ``size_bytes`` counts shared blobs once per name. A cloud stub has
    no weights here and must not be counted.
    """

    name: Name
    digest: Text
    size_bytes: Count
    modified_at: Moment
    is_cloud: bool = False
    format: Maybe[Text] = None
    architecture: Maybe[Text] = None
    parameter_size: Maybe[Text] = None
    parameter_count: Maybe[Count] = None
    quant: Maybe[Text] = None
    context_length: Maybe[Medium] = None
    block_count: Maybe[Medium] = None
    parent_model: Maybe[Name] = None
    blob_digest: Maybe[Identity] = None
    capabilities: tuple[Text, ...] = ()


class Inventory(Message):
    """All that is installed on one instance. ``blobs_bytes``: unique blobs, if they can be told."""

    kind: Literal["inventory"] = "inventory"
    protocol: Protocol = PROTOCOL_VERSION
    node: Slug
    sent_at: Moment
    instance: Text
    version: Maybe[Text] = None
    models: Annotated[tuple[Each[InstalledModel], ...], Field(max_length=MOST_MODELS)]


type PullPhase = Literal[
    "waiting",
    "starting",
    "downloading",
    "verifying",
    "finishing",
    "installed",
    "failed",
    "cancelled",
]


class PullProgress(Message):
    """How a pull stands; also its heartbeat, sent at least every 5 s.

    ``done_bytes`` never falls within a job for the viewer's sake. ``total_bytes`` grows while
    layers become known. ``reason`` is a plain sentence, set with ``failed``; ``retry`` tells
    whether trying again may help.
    """

    kind: Literal["pull"] = "pull"
    protocol: Protocol = PROTOCOL_VERSION
    node: Slug
    sent_at: Moment
    job_id: Count
    attempt: Medium
    phase: PullPhase
    done_bytes: Maybe[Count] = None
    total_bytes: Maybe[Count] = None
    bytes_per_s: Maybe[Figure] = None
    remaining_s: Maybe[Figure] = None
    reason: Maybe[Text] = None
    retry: bool = False


type Report = Annotated[Sample | Inventory | PullProgress, Field(discriminator="kind")]

report_adapter: TypeAdapter[Report] = TypeAdapter(Report)
