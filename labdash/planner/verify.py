"""Compare what a plan says of a load with what memory shows, device by device.

Buffers are predicted exactly: 95 % of devices to the byte, 99 % to a millionth (docs/accuracy.md).
What may differ is what a process takes beside them. The table of that is off by at most 78 MiB on
the cards that were measured, and up to 48 MiB of it appear only with the first answer. A driver
counts in pages, and a model that was not replayed has its compute buffer from a formula. So 64 MiB
and one part in a hundred are no difference; ``doubt_bytes`` adds to that where a card's overhead
was never seen.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from labdash.planner.ollama import MIB
from labdash.planner.telling.words import all_of, gib, tokens

type Verdict = Literal[
    "as-planned", "more", "spilled", "wrong-gpu", "evicted", "not-loaded", "cannot-check"
]

TOLERANCE_BYTES = 64 * MIB
TOLERANCE_SHARE = 0.01
# Below this share of a model on the CPU, it is the noise of host buffers.
NOTABLE_SHARE = 0.005
CPU_SUFFIX = "/cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the plan says. ``bytes`` by device, each GPU's overhead among them and in ``overheads``.

    ``visible_gpus`` counts those that the instance sees. ``left_out_bytes`` is what Ollama's own
    sizes lack of it (``unseen.left_out_bytes``), None where nobody reckoned it.
    """

    bytes: Mapping[str, int]
    layers: Mapping[str, int]
    ctx: int | None
    visible_gpus: int
    overheads: Mapping[str, int] = field(default_factory=dict)
    left_out_bytes: int | None = None
    doubt_bytes: int = 0

    @property
    def gpus(self) -> frozenset[str]:
        """GPUs that hold a part of it."""
        return frozenset(_gpus(self.bytes))

    @property
    def is_whole(self) -> bool:
        """Whether no layer is planned for the CPU."""
        return not any(n for device, n in self.layers.items() if device.endswith(CPU_SUFFIX))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is seen. ``listed``: whether its server names it as loaded, None while it does not say.

    ``was_loaded``: it was seen in memory since it was loaded for this plan. The sizes are those of
    ``/api/ps``; ``leaves_out_context`` as the node reports it. ``gpu_bytes`` is the driver's figure
    of its processes by device, None where the driver tells of none.
    """

    listed: bool | None
    was_loaded: bool = False
    ctx: int | None = None
    size_bytes: int | None = None
    size_vram_bytes: int | None = None
    leaves_out_context: bool = False
    gpu_bytes: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One device. ``seen_bytes`` is None where nothing tells; ``agrees`` within the tolerance."""

    device: str
    planned_bytes: int
    seen_bytes: int | None
    agrees: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """``text`` says it in plain sentences. ``devices`` are the GPUs planned or seen."""

    verdict: Verdict
    text: str
    devices: tuple[Compared, ...] = ()


def verify(expected: Expected, seen: Seen) -> Checked:
    """Judge one load. What is worse is said first."""
    if seen.listed is None:
        return Checked(verdict="cannot-check", text="Its server does not say what is in memory.")
    if not seen.listed:
        return _missing(seen)
    if seen.ctx is not None and expected.ctx is not None and seen.ctx != expected.ctx:
        return _replaced(expected, seen)
    if seen.gpu_bytes is None:
        return _by_ollama(expected, seen)
    return _by_driver(expected, seen, seen.gpu_bytes)


def tolerance(planned_bytes: int, *, doubt_bytes: int = 0) -> int:
    """Tell by how many bytes a device may differ."""
    return TOLERANCE_BYTES + round(TOLERANCE_SHARE * planned_bytes) + doubt_bytes


def _missing(seen: Seen) -> Checked:
    if seen.was_loaded:
        text = "It was in memory and is not any more: another load took its place."
        return Checked(verdict="evicted", text=text)
    return Checked(verdict="not-loaded", text="It is not in memory.")


def _replaced(expected: Expected, seen: Seen) -> Checked:
    """Tell of one that somebody else loaded otherwise, which ends what the plan had loaded."""
    planned, found = tokens(expected.ctx or 0), tokens(seen.ctx or 0)
    text = f"It runs with a context of {found} instead of {planned}: another program loaded it"
    verdict: Verdict = "evicted" if seen.was_loaded else "not-loaded"
    return Checked(verdict=verdict, text=f"{text} with options of its own.")


# --- by what the driver tells of processes -------------------------------------------------------


def _by_driver(expected: Expected, seen: Seen, found: Mapping[str, int]) -> Checked:
    held = {device: size for device, size in found.items() if size}
    devices = tuple(_compare(expected, device, held) for device in sorted({*expected.gpus, *held}))
    verdict, text = _elsewhere(expected, seen, held) or _amounts(expected, seen, devices)
    return Checked(verdict=verdict, text=text, devices=devices)


def _compare(expected: Expected, device: str, held: Mapping[str, int]) -> Compared:
    planned, found = expected.bytes.get(device, 0), held.get(device, 0)
    allowed = tolerance(planned, doubt_bytes=expected.doubt_bytes)
    agrees = abs(found - planned) <= allowed
    return Compared(device=device, planned_bytes=planned, seen_bytes=found, agrees=agrees)


def _elsewhere(
    expected: Expected, seen: Seen, held: Mapping[str, int]
) -> tuple[Verdict, str] | None:
    """Tell of one that is not on the GPUs that it was planned for."""
    if held.keys() == expected.gpus:
        return None
    if held:
        where = all_of(sorted(held))
        planned = all_of(sorted(expected.gpus)) or "the CPU"
        return "wrong-gpu", f"It lies on {where}, and was planned for {planned}."
    if seen.size_vram_bytes == 0:
        planned = f"{gib(_planned(expected))} were planned for {all_of(sorted(expected.gpus))}"
        return "spilled", f"All of it is on the CPU, and {planned}."
    text = "Ollama lists it, and no process of it is on a GPU: the process died, or it runs on the"
    return "not-loaded", f"{text} CPU."


def _amounts(expected: Expected, seen: Seen, devices: tuple[Compared, ...]) -> tuple[Verdict, str]:
    more = [each for each in devices if not each.agrees and _excess(each) > 0]
    less = [each for each in devices if not each.agrees and _excess(each) < 0]
    if _is_spilled(expected, seen, bool(less)):
        return "spilled", _spill_text(expected, seen)
    if more:
        return "more", f"It takes {all_of(map(_excess_text, more))} than planned."
    if less:
        return "as-planned", f"It is where it was planned, and takes {_less_text(less)}."
    return "as-planned", _agreement(expected, devices)


def _is_spilled(expected: Expected, seen: Seen, is_less: bool) -> bool:  # noqa: FBT001 - one of three facts
    """Whether layers that were planned for a GPU lie on the CPU."""
    if not expected.gpus:
        return False
    share = _cpu_share(seen)
    if expected.is_whole:
        return share is not None and share > NOTABLE_SHARE
    return is_less


def _cpu_share(seen: Seen) -> float | None:
    """Tell the share of it on the CPU by Ollama's word, None where it has none."""
    if seen.size_vram_bytes is None or not seen.size_bytes:
        return None
    return max(0, seen.size_bytes - seen.size_vram_bytes) / seen.size_bytes


def _spill_text(expected: Expected, seen: Seen) -> str:
    share = _cpu_share(seen)
    if not expected.is_whole or share is None:
        return "Fewer layers are on the GPU than planned, the others on the CPU: it is slower."
    return f"{share:.0%} of it are on the CPU, and none was planned there: it is slow."


def _excess(each: Compared) -> int:
    return (each.seen_bytes or 0) - each.planned_bytes


def _excess_text(each: Compared) -> str:
    return f"{gib(_excess(each))} more on {each.device}"


def _less_text(less: Iterable[Compared]) -> str:
    return all_of(f"{gib(-_excess(each))} less on {each.device} than planned" for each in less)


def _agreement(expected: Expected, devices: tuple[Compared, ...]) -> str:
    if not devices:
        return "It is on the CPU, as planned."
    found = [f"{gib(each.seen_bytes or 0)} on {each.device}" for each in devices]
    planned = gib(_planned(expected))
    return f"It takes {all_of(found)}; {planned} were planned."


def _planned(expected: Expected) -> int:
    return sum(expected.bytes[device] for device in expected.gpus)


# --- by Ollama's own word ------------------------------------------------------------------------


def _by_ollama(expected: Expected, seen: Seen) -> Checked:
    """Judge where the driver tells of no process. Ollama does not say which GPU holds what."""
    vram = seen.size_vram_bytes
    if vram is None or seen.size_bytes is None:
        return Checked(verdict="cannot-check", text="Nothing tells where it lies.")
    if not expected.gpus:
        return _on_cpu(seen)
    if vram == 0:
        text = "By Ollama's word all of it is on the CPU, and it was planned for a GPU."
        return Checked(verdict="spilled", text=text)
    if expected.is_whole and _is_spilled(expected, seen, is_less=False):
        return Checked(verdict="spilled", text=_spill_text(expected, seen))
    return _by_total(expected, seen, vram)


def _on_cpu(seen: Seen) -> Checked:
    if seen.size_vram_bytes:
        text = f"{gib(seen.size_vram_bytes)} of it are on a GPU, and it was planned for the CPU."
        return Checked(verdict="wrong-gpu", text=text)
    return Checked(verdict="as-planned", text="By Ollama's word it is on the CPU, as planned.")


def _by_total(expected: Expected, seen: Seen, vram: int) -> Checked:
    """Compare the sum over all GPUs: Ollama counts no overhead."""
    hidden = expected.left_out_bytes if seen.leaves_out_context else 0
    if hidden is None:
        text = "Ollama leaves out a part of its context's memory, and the driver tells of none."
        return Checked(verdict="cannot-check", text=text)
    planned = _planned(expected) - sum(expected.overheads.values())
    found, allowed = vram + hidden, tolerance(planned)
    if not expected.is_whole and found < planned - allowed:
        return Checked(verdict="spilled", text=_spill_text(expected, seen))
    if found > planned + allowed:
        text = f"By Ollama's word it takes {gib(found - planned)} more than planned."
        return Checked(verdict="more", text=text, devices=_single(expected, found))
    told = f"By Ollama's word {gib(found)} of it are on GPUs; {gib(planned)} were planned."
    if expected.visible_gpus > 1:
        text = f"{told} On which GPUs, nothing tells."
        return Checked(verdict="cannot-check", text=text)
    return Checked(verdict="as-planned", text=told, devices=_single(expected, found))


def _single(expected: Expected, found_bytes: int) -> tuple[Compared, ...]:
    """Compare the only GPU, what Ollama does not count taken as planned."""
    if expected.visible_gpus > 1 or len(expected.gpus) != 1:
        return ()
    (device,) = expected.gpus
    held = {device: found_bytes + expected.overheads.get(device, 0)}
    return (_compare(expected, device, held),)


def _gpus(devices: Mapping[str, int]) -> Iterable[str]:
    return (name for name, size in devices.items() if size and not name.endswith(CPU_SUFFIX))
