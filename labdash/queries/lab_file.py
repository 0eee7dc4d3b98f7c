"""Read a lab from its file, ``lab.toml``: strictly, with one clear line for what is wrong."""

import tomllib
from collections import Counter
from collections.abc import Iterable
from typing import get_args
from urllib.parse import urlsplit

from labdash.models.deployment import LEAST_PRIORITY, MOST_CTX, MOST_PRIORITY, MOST_REPLICAS
from labdash.planner.errors import PlannerError
from labdash.planner.lab import Lab, Prefer, Residency, Yields
from labdash.planner.settings import CACHE_TYPES
from labdash.queries.lab_entries import (
    DEFAULT_URL,
    KINDS,
    GpuEntry,
    InstanceEntry,
    LabEntries,
    LoadedEntry,
    NodeEntry,
    Wanted,
)
from labdash.queries.lab_of_entries import lab_of
from labdash.queries.lab_schedules import SCHEDULE_KEYS, read_schedule
from labdash.queries.toml_table import Table

LAB_KEYS = ("node", "deployment", "schedule")
NODE_KEYS = (
    "name", "tags", "kind", "ram_gib", "ram_used_gib", "ram_bandwidth_gbs", "disk_free_gib",
    "asleep", "agentless", "gpu_share_gib", "gpu", "instance",
)  # fmt: skip
GPU_KEYS = (
    "name", "vram_gib", "used_gib", "reserve_gib", "margin_gib", "bandwidth_gbs", "sm_count",
)  # fmt: skip
INSTANCE_KEYS = ("name", "url", "ollama", "gpus", "env", "installed", "loaded")
LOADED_KEYS = ("model", "ctx", "gpu_gib", "stays")
DEPLOYMENT_KEYS = (
    "name", "model", "quant", "ctx", "parallel", "kv_type", "priority", "prefer", "residency",
    "offload", "replicas", "nodes", "pin", "keep_apart", "min_tokens_per_s", "give_way",
    "same_name",
)  # fmt: skip
BOUNDS = ("floor", "wish")
OFFLOAD = ("never", "allowed")
PREFERENCES: tuple[Prefer, ...] = get_args(Prefer.__value__)
RESIDENCIES: tuple[Residency, ...] = get_args(Residency.__value__)
YIELDS: tuple[Yields, ...] = get_args(Yields.__value__)
MOST_GPU, MOST_SLOTS, MOST_SPEED = 63, 64, 1e6
MOST_UNITS = 10_000
DEFAULT_PORT = 11434


def parse(text: str) -> Lab:
    """Read a lab for the planner. Raises ``PlannerError``.

    A model that neither the catalog knows nor the lab has is an error; one of which only the
    shape is not known is refused by the plan, and the others are planned.
    """
    return lab_of(read(text))


def read(text: str) -> LabEntries:
    """Read what a file says. Raises ``PlannerError``."""
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        line = str(error).splitlines()[0] if str(error) else "nested too deeply"
        raise PlannerError(f"the file is no TOML: {line}") from None
    lab = Table(values, "", known=LAB_KEYS)
    nodes = tuple(_node(table) for table in lab.tables("node", known=NODE_KEYS))
    wanted = tuple(_wanted(table) for table in lab.tables("deployment", known=DEPLOYMENT_KEYS))
    schedules = tuple(map(read_schedule, lab.tables("schedule", known=SCHEDULE_KEYS)))
    _distinct("node", (node.name for node in nodes))
    _distinct("instance", (each.name for node in nodes for each in node.instances))
    _distinct("deployment", (each.name for each in wanted))
    _distinct("schedule", (each.name for each in schedules))
    return LabEntries(nodes=nodes, deployments=wanted, schedules=schedules)


def _distinct(kind: str, names: Iterable[str]) -> None:
    name, count = next(iter(Counter(names).most_common(1)), ("", 0))
    if count > 1:
        raise PlannerError(f"{count} {kind}s are named {name}: give each a name of its own")


def _node(table: Table) -> NodeEntry:
    name = table.text("name")
    table.named(name)
    if "/" in name:
        raise table.error("a node's name holds no slash")
    gpus = tuple(_gpu(each) for each in table.tables("gpu", known=GPU_KEYS))
    instances = table.tables("instance", known=INSTANCE_KEYS)
    found = NodeEntry(
        name=name,
        tags=table.texts("tags"),
        kind=table.choice("kind", KINDS, "linux"),
        ram_bytes=table.size("ram_gib"),
        ram_used_bytes=table.size("ram_used_gib"),
        ram_gbs=table.number("ram_bandwidth_gbs"),
        disk_free_bytes=table.size("disk_free_gib"),
        asleep=table.flag("asleep"),
        agentless=table.flag("agentless"),
        gpu_share_bytes=table.size("gpu_share_gib"),
        gpus=gpus,
        instances=tuple(_instance(each, name, len(gpus)) for each in instances),
    )
    _check_pool(table, found)
    return found


def _check_pool(table: Table, node: NodeEntry) -> None:
    share, ram = node.gpu_share_bytes, node.ram_bytes
    if share is not None and len(node.gpus) != 1:
        raise table.error("gpu_share_gib is for a node with one GPU")
    if share == 0:
        raise table.error("gpu_share_gib is 0: leave out a GPU that may take nothing")
    if share is not None and ram is not None and share > ram:
        raise table.error("gpu_share_gib is more than ram_gib, of which it is a part")
    if ram is not None and (node.ram_used_bytes or 0) > ram:
        raise table.error("ram_used_gib is more than ram_gib")


def _gpu(table: Table) -> GpuEntry:
    name = table.text("name")
    table.named(name)
    vram, used = table.size("vram_gib"), table.size("used_gib")
    if vram == 0:
        raise table.error("vram_gib is 0")
    if vram is not None and (used or 0) > vram:
        raise table.error("used_gib is more than vram_gib")
    bandwidth = table.number("bandwidth_gbs")
    if bandwidth == 0:
        raise table.error("bandwidth_gbs is 0: leave it out where it is not known")
    return GpuEntry(
        name=name,
        vram_bytes=vram,
        used_bytes=used,
        reserve_bytes=table.size("reserve_gib") or 0,
        margin_bytes=table.size("margin_gib"),
        bandwidth_gbs=bandwidth,
        sm_count=table.whole("sm_count", least=1, most=MOST_UNITS),
    )


def _instance(table: Table, node: str, gpu_count: int) -> InstanceEntry:
    url = table.text("url", DEFAULT_URL)
    name = table.text("name", f"{node}:{_port(table, url)}")
    table.named(name)
    gpus = table.wholes("gpus", most=MOST_GPU)
    lost = next((index for index in gpus or () if index >= gpu_count), None)
    if lost is not None:
        raise table.error(f"gpus lists {lost}, but {node} has {gpu_count} GPUs, counted from 0")
    seen = gpu_count if gpus is None else len(gpus)
    loaded = table.tables("loaded", known=LOADED_KEYS)
    return InstanceEntry(
        name=name,
        url=url,
        ollama=table.text("ollama") if table.has("ollama") else None,
        gpus=gpus,
        env=table.words("env"),
        installed=table.texts("installed"),
        loaded=tuple(_loaded(each, seen) for each in loaded),
    )


def _port(table: Table, url: str) -> int:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise table.error(f"url is {url[:60]!r}, and no address") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise table.error(f"url is {url[:60]!r}: write http://host:11434")
    return port or DEFAULT_PORT


def _loaded(table: Table, seen: int) -> LoadedEntry:
    sizes = table.sizes("gpu_gib")
    if len(sizes) > seen:
        raise table.error(f"gpu_gib has {len(sizes)} numbers for {seen} GPUs")
    return LoadedEntry(
        model=table.text("model"),
        ctx=table.whole("ctx", least=1, most=MOST_CTX),
        gpu_bytes=sizes,
        stays=table.flag("stays") if table.has("stays") else True,
    )


def _wanted(table: Table) -> Wanted:
    model = table.text("model")
    name = table.text("name", model)
    table.named(name)
    quant = table.table("quant", known=BOUNDS)
    ctx = table.table("ctx", known=BOUNDS)
    floor, wish = (ctx.whole(key, least=1, most=MOST_CTX) for key in BOUNDS)
    if floor is not None and wish is not None and floor > wish:
        raise ctx.error(f"the floor of {floor} is above the wish of {wish}")
    return Wanted(
        name=name,
        model=model,
        quant_floor=quant.text("floor") if quant.has("floor") else "",
        quant_wish=quant.text("wish") if quant.has("wish") else "",
        ctx_floor=floor,
        ctx_wish=wish,
        parallel=table.whole("parallel", least=1, most=MOST_SLOTS),
        kv_types=table.choices("kv_type", CACHE_TYPES),
        priority=table.whole("priority", least=LEAST_PRIORITY, most=MOST_PRIORITY)
        or Wanted.priority,
        prefer=table.choice("prefer", PREFERENCES, Wanted.prefer),
        residency=table.choice("residency", RESIDENCIES, Wanted.residency),
        offload_allowed=table.choice("offload", OFFLOAD, "never") == "allowed",
        replicas=table.whole("replicas", least=1, most=MOST_REPLICAS) or 1,
        nodes=table.texts("nodes"),
        pin=_pin(table),
        keep_apart=table.texts("keep_apart"),
        min_tokens_per_s=table.number("min_tokens_per_s", most=MOST_SPEED),
        give_way=table.choices("give_way", YIELDS),
        same_name=table.flag("same_name"),
    )


def _pin(table: Table) -> str | None:
    if not table.has("pin"):
        return None
    pin = table.text("pin")
    node, _, device = pin.rpartition("/")
    if not node or not (device == "cpu" or device.isdecimal()):
        raise table.error(f"pin is {pin[:40]!r}: write NODE/0 for a GPU, or NODE/cpu")
    return pin
