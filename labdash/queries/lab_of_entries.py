"""A lab as the planner takes it, out of its file: with the catalog's facts, and what is assumed."""

from collections.abc import Iterable

from labdash.catalog.engines import build_of_ollama, newest_engine
from labdash.catalog.gpus import GpuFacts, find_gpu
from labdash.planner.errors import PlannerError
from labdash.planner.lab import Card, Deployment, Instance, Lab, Node, Running
from labdash.planner.memory.overhead import Vendor, driver_reserve
from labdash.planner.placing.inventory import plain
from labdash.planner.speed import SpeedClass
from labdash.queries.lab_entries import (
    GpuEntry,
    InstanceEntry,
    LabEntries,
    LoadedEntry,
    NodeEntry,
    Wanted,
)
from labdash.queries.shelf import find, shelf_of
from labdash.queries.wanted import deployment_of
from labdash.wording import GIB

# What a system holds of its RAM where nobody said, at most a third of all.
SYSTEM_BYTES: dict[str, int] = {"linux": 2 * GIB, "windows": 4 * GIB, "mac": 4 * GIB}
SYSTEM_SHARE = 3
# On Windows the desktop takes its part of a card too: of 8 GiB about 7 are usable.
DESKTOP_BYTES = 600 << 20
ASLEEP = "it is asleep"
UNSAID_GPU = "nobody said what other programs hold, so what a driver keeps is counted"
UNSAID_RAM = "nobody said what the system holds of the RAM, so {} GiB are counted"
# Makers by words of names that the catalog lacks, with what is taken of their speed.
MAKERS: dict[str, tuple[Vendor, SpeedClass]] = {
    "nvidia": ("nvidia", "nvidia"), "geforce": ("nvidia", "nvidia"), "rtx": ("nvidia", "nvidia"),
    "gtx": ("nvidia", "nvidia"), "tesla": ("nvidia", "nvidia"), "quadro": ("nvidia", "nvidia"),
    "amd": ("amd", "amd"), "radeon": ("amd", "amd"), "instinct": ("amd", "amd"),
    "intel": ("intel", "intel"), "arc": ("intel", "intel"), "apple": ("apple", "apple"),
}  # fmt: skip


def lab_of(entries: LabEntries) -> Lab:
    """Make a lab. Raises ``PlannerError`` for versions, models and quants that are none."""
    nodes = tuple(_node(entry) for entry in entries.nodes)
    deployments = _deployments(entries.deployments, Lab(nodes=nodes, deployments=()))
    return Lab(nodes=nodes, deployments=tuple(deployments))


def _deployments(wanted: Iterable[Wanted], machines: Lab) -> Iterable[Deployment]:
    shelf = shelf_of(machines)
    for number, each in enumerate(wanted, start=1):
        try:
            yield deployment_of(each, shelf, strict=True)
        except PlannerError as error:
            raise PlannerError(f"deployment {number} ({each.name}): {error}") from None


def _node(entry: NodeEntry) -> Node:
    unified = entry.gpu_share_bytes is not None or (entry.kind == "mac" and len(entry.gpus) == 1)
    cards = tuple(_card(gpu, index, entry) for index, gpu in enumerate(entry.gpus))
    used, assumed = entry.ram_used_bytes, system_bytes(entry.kind, entry.ram_bytes)
    return Node(
        name=entry.name,
        tags=entry.tags,
        kind=entry.kind,
        ram_bytes=entry.ram_bytes,
        ram_used_bytes=assumed if used is None else used,
        ram_gbs=entry.ram_gbs,
        disk_free_bytes=entry.disk_free_bytes,
        unified=unified,
        agentless=entry.agentless,
        away=ASLEEP if entry.asleep else "",
        doubt=UNSAID_RAM.format(f"{assumed / GIB:.1f}") if used is None else "",
        cards=cards,
        instances=tuple(_instance(each, entry) for each in entry.instances),
    )


def system_bytes(kind: str, ram_bytes: int | None) -> int:
    """Tell what a system holds of its RAM where nobody measures it."""
    usual = SYSTEM_BYTES[kind]
    return usual if ram_bytes is None else min(usual, ram_bytes // SYSTEM_SHARE)


def _card(entry: GpuEntry, index: int, node: NodeEntry) -> Card:
    facts = find_gpu(entry.name, node.gpu_share_bytes or entry.vram_bytes)
    total = node.gpu_share_bytes or entry.vram_bytes or _sold(entry, facts, node)
    vendor, speed_class = make_of(entry.name, facts)
    is_pool = node.gpu_share_bytes is not None or node.kind == "mac"
    used = entry.used_bytes
    if used is None:
        used = 0 if is_pool else unseen_bytes(total, vendor, windows=node.kind == "windows")
    return Card(
        index=index,
        name=entry.name,
        total_bytes=total,
        used_bytes=used,
        reserve_bytes=entry.reserve_bytes,
        margin_bytes=entry.margin_bytes,
        vendor=vendor,
        sm_count=entry.sm_count or (facts.sm_count if facts else None),
        speed_class=speed_class,
        bandwidth_gbs=entry.bandwidth_gbs or (facts.bandwidth_gbs if facts else None),
        doubt="" if entry.used_bytes is not None or is_pool else UNSAID_GPU,
    )


def _sold(entry: GpuEntry, facts: GpuFacts | None, node: NodeEntry) -> int:
    """Take the size that a card is sold with, where there is but one."""
    sizes = facts.vram_gb if facts and not facts.unified else ()
    if len(sizes) != 1:
        raise PlannerError(f"node {node.name}: say the vram_gib of {entry.name}")
    return round(sizes[0] * GIB)


def make_of(name: str, facts: GpuFacts | None) -> tuple[Vendor | None, SpeedClass]:
    """Tell who made a card, and whose efficiency it is taken to have."""
    if facts is not None:
        return facts.vendor, facts.speed_class
    words = name.lower().replace("(r)", " ").replace("(tm)", " ").split()
    return next((MAKERS[word] for word in words if word in MAKERS), (None, "nvidia"))


def unseen_bytes(total_bytes: int, vendor: Vendor | None, *, windows: bool = False) -> int:
    """Tell what a driver and a desktop hold of a card of which nobody measures the use."""
    return driver_reserve(total_bytes, vendor) + (DESKTOP_BYTES if windows else 0)


def _instance(entry: InstanceEntry, node: NodeEntry) -> Instance:
    try:
        build = build_of_ollama(entry.ollama) if entry.ollama else newest_engine()
    except PlannerError as error:
        raise PlannerError(f"node {node.name}, instance {entry.name}: {error}") from None
    gpus = tuple(range(len(node.gpus))) if entry.gpus is None else entry.gpus
    installed = tuple(dict.fromkeys((*entry.installed, *(each.model for each in entry.loaded))))
    return Instance(
        name=entry.name,
        version=entry.ollama,
        build=build.number,
        gpus=gpus,
        env=entry.env,
        installed=installed,
        file_bytes={name: size for name in installed if (size := _published_bytes(name))},
        running=tuple(_running(each, gpus) for each in entry.loaded),
        url=entry.url,
    )


def _published_bytes(name: str) -> int | None:
    """Tell what a model takes of a disk, None where no size of just this file is known."""
    found = find(name)
    files = found.model.files if found else ()
    return next((each.bytes for each in files if plain(each.file) == plain(name)), None)


def _running(entry: LoadedEntry, gpus: tuple[int, ...]) -> Running:
    held = zip(gpus, entry.gpu_bytes, strict=False)
    return Running(name=entry.model, ctx=entry.ctx, gpu_bytes=dict(held), stays=entry.stays)
