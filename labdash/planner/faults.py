"""Known faults of Ollama, recognised by what is seen of a server. Numbers are of its issues."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from labdash.planner.telling.words import all_of, gib

type Code = Literal[
    "driver-lost",
    "cpu-fallback",
    "says-gpu-runs-on-cpu",
    "runner-gone",
    "orphan",
    "deleted-stays",
    "piled-on-one-gpu",
    "spread-over-gpus",
    "options-of-others",
    "reload-loop",
]

# Anew so often within ten minutes is no coincidence: somebody loads it each time it was evicted.
RELOADS_OF_A_LOOP = 3
# From here on a model runs in a llama-server, and the faults of its placement are of that time.
NEW_ENGINE = (0, 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A model that a server lists. ``gpu_bytes`` by the node's GPU, None where nobody tells.

    ``planned_gpus`` and ``planned_ctx`` are those of the plan, None where it knows nothing of it.
    ``was_on_gpu``: a process of it was seen on a GPU before. ``reloads``: how often it was loaded
    anew within the last ten minutes.
    """

    name: str
    size_bytes: int | None = None
    size_vram_bytes: int | None = None
    gpu_bytes: Mapping[int, int] | None = None
    ctx: int | None = None
    planned_gpus: frozenset[int] | None = None
    planned_ctx: int | None = None
    was_on_gpu: bool = False
    is_deleted: bool = False
    reloads: int = 0

    @property
    def gpus(self) -> frozenset[int]:
        """GPUs on which a process of it holds memory."""
        return frozenset(index for index, size in (self.gpu_bytes or {}).items() if size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A runner whose server is gone."""

    pid: int
    model: str
    gpu: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU that the server sees. ``is_lost``: the driver does not find it any more."""

    index: int
    total_bytes: int
    free_bytes: int | None = None
    is_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One server and its machine. ``version`` is empty where unknown, then the newest is meant."""

    node: str
    instance: str
    version: tuple[int, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    driver_works: bool = True
    loads: tuple[Load, ...] = ()
    orphans: tuple[Orphan, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """``issue`` is a number in github.com/ollama/ollama, None where nobody has reported it.

    ``models`` are those that it is about. ``remedy`` says what to do.
    """

    code: Code
    issue: int | None
    models: tuple[str, ...]
    text: str
    remedy: str


type Rule = Callable[[Facts], Iterator[Fault]]


def find_faults(facts: Facts) -> tuple[Fault, ...]:
    """Name all faults that the facts show, the one that explains others first."""
    return tuple(fault for rule in RULES for fault in rule(facts))


def _driver_lost(facts: Facts) -> Iterator[Fault]:
    lost = [gpu.index for gpu in facts.gpus if gpu.is_lost]
    if not lost and (facts.driver_works or not facts.gpus):
        return
    what = f"GPU {all_of(map(str, lost))}" if lost else "The GPU driver"
    verb = "is" if len(lost) <= 1 else "are"
    text = f"{what} of {facts.node} {verb} lost, so Ollama loads on the CPU without a word"
    yield Fault(
        code="driver-lost",
        issue=5464,
        models=(),
        text=f"{text}: this happens after a sleep or an update of the driver.",
        remedy="Reload the driver (sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm) or restart"
        " the machine, then restart Ollama.",
    )


def _cpu_fallback(facts: Facts) -> Iterator[Fault]:
    """Tell of what lies on the CPU where a GPU was planned, or nothing was."""
    if _has_no_gpu(facts):
        return
    fallen = [
        load.name
        for load in facts.loads
        if load.size_vram_bytes == 0 and load.size_bytes and load.planned_gpus != frozenset()
    ]
    if fallen:
        verb = "runs" if len(fallen) == 1 else "run"
        yield Fault(
            code="cpu-fallback",
            issue=10053,
            models=tuple(fallen),
            text=f"{all_of(fallen)} on {facts.instance} {verb} on the CPU though there is a GPU:"
            " Ollama does not find it, or found no room, and says nothing.",
            remedy="Free memory on the GPU and load it anew. If it stays on the CPU, restart"
            " Ollama; its log names the GPUs that it finds at its start.",
        )


def _not_on_gpu(facts: Facts) -> Iterator[Fault]:
    """Tell of what is on a GPU by Ollama's word alone."""
    if _has_no_gpu(facts):
        return
    for load in facts.loads:
        if not load.size_vram_bytes or load.gpu_bytes is None or load.gpus:
            continue
        yield _runner_gone(load, facts) if load.was_on_gpu else _says_gpu(load, facts)


def _runner_gone(load: Load, facts: Facts) -> Fault:
    return Fault(
        code="runner-gone",
        issue=None,
        models=(load.name,),
        text=f"{load.name} is listed on {facts.instance}, and its process is gone: Ollama notices"
        " at the next request only.",
        remedy="Load it again: the next request starts a new process.",
    )


def _says_gpu(load: Load, facts: Facts) -> Fault:
    return Fault(
        code="says-gpu-runs-on-cpu",
        issue=7323,
        models=(load.name,),
        text=f"{load.name}: Ollama on {facts.instance} says that {gib(load.size_vram_bytes or 0)}"
        " are on a GPU, and the driver sees no process of it there: it runs on the CPU.",
        remedy="Restart Ollama, then load it again.",
    )


def _orphans(facts: Facts) -> Iterator[Fault]:
    for orphan in facts.orphans:
        yield Fault(
            code="orphan",
            issue=None,
            models=(orphan.model,),
            text=f"Process {orphan.pid} on {facts.node} holds {gib(orphan.bytes)} of GPU"
            f" {orphan.gpu} for {orphan.model}, and the Ollama that started it is gone.",
            remedy=f"End it: kill {orphan.pid}. A restart of Ollama does not.",
        )


def _deleted(facts: Facts) -> Iterator[Fault]:
    for load in facts.loads:
        if load.is_deleted:
            yield Fault(
                code="deleted-stays",
                issue=4443,
                models=(load.name,),
                text=f"{load.name} was deleted on {facts.instance} and stays in memory; Ollama"
                " knows its name no more, so nothing can unload it by that.",
                remedy="Wait until its time ends, or unload another name of the same file, or"
                " restart Ollama.",
            )


def _piled(facts: Facts) -> Iterator[Fault]:
    """Tell of GPUs to which Ollama gave several models while another has more room."""
    if _is_old(facts):
        return
    for gpu in facts.gpus:
        here = [load for load in facts.loads if load.gpus == {gpu.index}]
        unplanned = [load for load in here if load.planned_gpus != frozenset({gpu.index})]
        if gpu.index == 0 or len(here) < 2 or not unplanned:  # noqa: PLR2004 - several
            continue
        roomier = _roomier(facts, gpu)
        if roomier is not None:
            yield _pile(facts, gpu, roomier, [load.name for load in here])


def _roomier(facts: Facts, gpu: Gpu) -> Gpu | None:
    """Return another GPU that has more room, where all of that is known."""
    others = [each for each in facts.gpus if each.index != gpu.index and not each.is_lost]
    known = [each for each in others if each.free_bytes is not None]
    best = max(known, key=lambda each: each.free_bytes or 0, default=None)
    if best is None or gpu.free_bytes is None or (best.free_bytes or 0) <= gpu.free_bytes:
        return None
    return best


def _pile(facts: Facts, gpu: Gpu, roomier: Gpu, names: list[str]) -> Fault:
    return Fault(
        code="piled-on-one-gpu",
        issue=18349,
        models=tuple(names),
        text=f"{all_of(names)} are all on GPU {gpu.index} of {facts.node}, which has"
        f" {gib(gpu.free_bytes or 0)} free, while GPU {roomier.index} has"
        f" {gib(roomier.free_bytes or 0)}: Ollama takes GPUs after the first for empty.",
        remedy="Pin each model to a GPU (main_gpu), as a plan of LabDash does, and load it anew.",
    )


def _spread(facts: Facts) -> Iterator[Fault]:
    """Tell of a model over several GPUs that one of them could hold."""
    if _is_old(facts):
        return
    for load in facts.loads:
        if len(load.gpus) > 1 and not (load.planned_gpus and len(load.planned_gpus) > 1):
            room = _one_that_holds(facts, load)
            if room is not None:
                yield _spread_over(facts, load, room)


def _one_that_holds(facts: Facts, load: Load) -> Gpu | None:
    """Return a GPU with room for all of it, what it holds there itself included."""
    held = load.gpu_bytes or {}
    for gpu in facts.gpus:
        free = None if gpu.free_bytes is None else gpu.free_bytes + held.get(gpu.index, 0)
        if free is not None and not gpu.is_lost and free >= sum(held.values()):
            return gpu
    return None


def _spread_over(facts: Facts, load: Load, room: Gpu) -> Fault:
    where = all_of(str(index) for index in sorted(load.gpus))
    return Fault(
        code="spread-over-gpus",
        issue=16599,
        models=(load.name,),
        text=f"{load.name} is spread over GPUs {where} of {facts.node}, though GPU {room.index} has"
        f" room for all of its {gib(sum((load.gpu_bytes or {}).values()))}: Ollama wants a fifth of"
        " a GPU free, by a rough guess of what a model takes.",
        remedy=f"Pin it to GPU {room.index} (main_gpu), as a plan of LabDash does.",
    )


def _other_options(facts: Facts) -> Iterator[Fault]:
    for load in facts.loads:
        if load.planned_ctx is None or load.ctx is None or load.ctx == load.planned_ctx:
            continue
        yield Fault(
            code="options-of-others",
            issue=8903,
            models=(load.name,),
            text=f"{load.name} on {facts.instance} was loaded with a context of {load.ctx:,} in"
            f" place of {load.planned_ctx:,}: a program asks for the model with options of its"
            " own, or by the name of the base, and Ollama loads it anew each time.",
            remedy="Let all programs use LabDash's name of the model, and set no options there.",
        )


def _loops(facts: Facts) -> Iterator[Fault]:
    looping = [load for load in facts.loads if load.reloads >= RELOADS_OF_A_LOOP]
    if looping:
        names = [load.name for load in looping]
        most = max(load.reloads for load in looping)
        yield Fault(
            code="reload-loop",
            issue=17408,
            models=tuple(names),
            text=f"{all_of(names)} on {facts.instance}: loaded anew up to {most} times within ten"
            " minutes. Models evict each other.",
            remedy="Set the context of each (num_ctx), or plan fewer of them"
            " there. A restart of Ollama ends a deadlock.",
        )


def _has_no_gpu(facts: Facts) -> bool:
    """Whether a server has no GPU to speak of: one that is lost is told by itself."""
    return not facts.driver_works or all(gpu.is_lost for gpu in facts.gpus)


def _is_old(facts: Facts) -> bool:
    return bool(facts.version) and facts.version[:2] < NEW_ENGINE


# A lost driver explains what lies on the CPU.
RULES: tuple[Rule, ...] = (
    _driver_lost,
    _cpu_fallback,
    _not_on_gpu,
    _orphans,
    _deleted,
    _piled,
    _spread,
    _other_options,
    _loops,
)
