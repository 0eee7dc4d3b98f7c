"""Write a lab as its file, ``lab.toml``. What is usual is left out; all reads back the same."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping

from labdash.queries.lab_entries import (
    DEFAULT_URL,
    GpuEntry,
    InstanceEntry,
    LabEntries,
    LoadedEntry,
    NodeEntry,
    Wanted,
)
from labdash.queries.lab_schedules import ScheduleEntry, when_lines
from labdash.wording import GIB

MOST_DIGITS = 17


def lab_text(lab: LabEntries) -> str:
    """Write a file that ``lab_file.read`` reads as the same lab."""
    blocks = [
        *map(_node, lab.nodes),
        *map(_deployment, lab.deployments),
        *map(_schedule, lab.schedules),
    ]
    return "\n".join("".join(f"{line}\n" for line in block) for block in blocks)


def gib(size_bytes: int) -> str:
    """Write bytes as GiB, with as few digits as give them back."""
    exact = size_bytes / GIB
    digits = range(1, MOST_DIGITS)
    short = (round(exact, count) for count in digits)
    return repr(next((each for each in short if round(each * GIB) == size_bytes), exact))


def _node(node: NodeEntry) -> Iterator[str]:
    yield "[[node]]"
    yield f"name = {_text(node.name)}"
    yield from _texts("tags", node.tags)
    yield f"kind = {_text(node.kind)}"
    yield from _size("ram_gib", node.ram_bytes)
    yield from _size("ram_used_gib", node.ram_used_bytes)
    yield from _number("ram_bandwidth_gbs", node.ram_gbs)
    yield from _size("disk_free_gib", node.disk_free_bytes)
    yield from _size("gpu_share_gib", node.gpu_share_bytes)
    yield from (f"{key} = true" for key in ("asleep", "agentless") if getattr(node, key))
    for gpu in node.gpus:
        yield from ("", *(f"  {line}" for line in _gpu(gpu)))
    for instance in node.instances:
        yield from ("", *(f"  {line}" for line in _instance(instance)))


def _gpu(gpu: GpuEntry) -> Iterator[str]:
    yield "[[node.gpu]]"
    yield f"name = {_text(gpu.name)}"
    yield from _size("vram_gib", gpu.vram_bytes)
    yield from _size("used_gib", gpu.used_bytes)
    yield from _size("reserve_gib", gpu.reserve_bytes or None)
    yield from _size("margin_gib", gpu.margin_bytes)
    yield from _number("bandwidth_gbs", gpu.bandwidth_gbs)
    yield from _number("sm_count", gpu.sm_count)


def _instance(instance: InstanceEntry) -> Iterator[str]:
    yield "[[node.instance]]"
    yield f"name = {_text(instance.name)}"
    if instance.url != DEFAULT_URL:
        yield f"url = {_text(instance.url)}"
    if instance.ollama is not None:
        yield f"ollama = {_text(instance.ollama)}"
    if instance.gpus is not None:
        yield f"gpus = {list(instance.gpus)}"
    if instance.env:
        yield f"env = {_table(instance.env)}"
    yield from _texts("installed", instance.installed)
    if instance.loaded:
        yield f"loaded = [{', '.join(map(_loaded, instance.loaded))}]"


def _loaded(loaded: LoadedEntry) -> str:
    parts = [f"model = {_text(loaded.model)}"]
    if loaded.ctx is not None:
        parts.append(f"ctx = {loaded.ctx}")
    if loaded.gpu_bytes:
        parts.append(f"gpu_gib = [{', '.join(map(gib, loaded.gpu_bytes))}]")
    if not loaded.stays:
        parts.append("stays = false")
    return f"{{ {', '.join(parts)} }}"


def _deployment(wanted: Wanted) -> Iterator[str]:
    yield "[[deployment]]"
    if wanted.name != wanted.model:
        yield f"name = {_text(wanted.name)}"
    yield f"model = {_text(wanted.model)}"
    yield from _bounds("quant", _text, wanted.quant_floor or None, wanted.quant_wish or None)
    yield from _bounds("ctx", str, wanted.ctx_floor, wanted.ctx_wish)
    yield from _number("parallel", wanted.parallel)
    yield from _texts("kv_type", wanted.kv_types)
    yield f"priority = {wanted.priority}"
    for key in ("prefer", "residency"):
        yield f"{key} = {_text(getattr(wanted, key))}"
    yield f'offload = "{"allowed" if wanted.offload_allowed else "never"}"'
    yield from _number("replicas", wanted.replicas if wanted.replicas > 1 else None)
    yield from _texts("nodes", wanted.nodes)
    if wanted.pin is not None:
        yield f"pin = {_text(wanted.pin)}"
    yield from _texts("keep_apart", wanted.keep_apart)
    yield from _number("min_tokens_per_s", wanted.min_tokens_per_s)
    yield from _texts("give_way", wanted.give_way)
    if wanted.same_name:
        yield "same_name = true"


def _schedule(entry: ScheduleEntry) -> Iterator[str]:
    yield "[[schedule]]"
    yield f"name = {_text(entry.name)}"
    if entry.what != ScheduleEntry.what:
        yield f"what = {_text(entry.what)}"
    yield from _texts("models", entry.models)
    yield from _texts("nodes", entry.nodes)
    for key, value in when_lines(entry):
        yield from [f"{key} = {_text(value)}"] if isinstance(value, str) else _texts(key, value)
    if entry.zone:
        yield f"zone = {_text(entry.zone)}"
    yield from _number("at_once", entry.at_once)
    if entry.updates != ScheduleEntry.updates:
        yield f"updates = {_text(entry.updates)}"
    yield from _number(
        "priority", entry.priority if entry.priority != ScheduleEntry.priority else None
    )
    yield from (f"{key} = true" for key in ("catch_up", "paused") if getattr(entry, key))


def _text(text: str) -> str:
    """Write a basic string: TOML escapes as JSON does."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _texts(key: str, texts: Iterable[str]) -> Iterator[str]:
    if found := [_text(each) for each in texts]:
        yield f"{key} = [{', '.join(found)}]"


def _table(words: Mapping[str, str]) -> str:
    return f"{{ {', '.join(f'{_key(name)} = {_text(text)}' for name, text in words.items())} }}"


def _key(name: str) -> str:
    is_bare = name and all(each.isascii() and (each.isalnum() or each in "_-") for each in name)
    return name if is_bare else _text(name)


def _size(key: str, size_bytes: int | None) -> Iterator[str]:
    if size_bytes is not None:
        yield f"{key} = {gib(size_bytes)}"


def _number(key: str, number: float | None) -> Iterator[str]:
    if number is not None:
        yield f"{key} = {number!r}"


def _bounds[T](
    key: str, write: Callable[[T], str], floor: T | None, wish: T | None
) -> Iterator[str]:
    given = [(name, each) for name, each in (("floor", floor), ("wish", wish)) if each is not None]
    if given:
        yield f"{key} = {{ {', '.join(f'{name} = {write(each)}' for name, each in given)} }}"
