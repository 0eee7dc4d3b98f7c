"""From a running lab to a plan, from the plan to loads, and from what is seen to verdicts."""

from collections.abc import Iterator, Mapping, Sequence

from labdash.catalog.engines import build_of_ollama
from labdash.catalog.gpus import find_gpu
from labdash.planner.lab import Card, Deployment, Instance, Lab, Node
from labdash.planner.memory.overhead import overhead_of
from labdash.planner.placing.unseen import left_out_bytes
from labdash.planner.plan import Placement, Plan
from labdash.planner.telling.names import served
from labdash.planner.verify import Checked, Expected, Seen, verify
from tests.planning.stage import Stage, settled
from workers.wire import GpuReading, InstanceReading, LoadedModel, LoadProgress, Sample

SHORT_S = 300


# --- what the planner is given -------------------------------------------------------------------


def lab_of(stage: Stage, wanted: Sequence[Deployment]) -> Lab:
    """Describe the running lab to the planner by what its workers report."""
    nodes = tuple(_node(stage, stage.sample(slug)) for slug in stage.members)
    return Lab(nodes=nodes, deployments=tuple(wanted))


def _node(stage: Stage, sample: Sample) -> Node:
    unified = any(gpu.unified for gpu in sample.gpus)
    cards = tuple(_card(gpu, unified=unified) for gpu in sample.gpus)
    disk = sample.instances[0].disk
    return Node(
        name=sample.node,
        ram_bytes=sample.host.ram_total_bytes,
        ram_used_bytes=sample.host.ram_used_bytes or 0,
        disk_free_bytes=disk.free_bytes if disk else None,
        unified=unified,
        cards=cards,
        instances=tuple(
            _instance(each, sample.node, cards, stage.installed(sample.node, each.name))
            for each in sample.instances
        ),
    )


def _card(gpu: GpuReading, *, unified: bool) -> Card:
    facts = find_gpu(gpu.name or "")
    assert facts
    held = sum(each.used_bytes or 0 for each in gpu.processes or () if each.model)
    total, free = gpu.memory_total_bytes or 0, gpu.memory_free_bytes or 0
    return Card(
        index=gpu.index,
        name=gpu.name or "",
        total_bytes=total,
        used_bytes=0 if unified else total - free - held,
        vendor=facts.vendor,
        sm_count=facts.sm_count,
        speed_class=facts.speed_class,
        bandwidth_gbs=facts.bandwidth_gbs,
    )


def _instance(
    reading: InstanceReading, slug: str, cards: Sequence[Card], blobs: Mapping[str, str]
) -> Instance:
    env = {each.name: each.value for each in reading.settings or ()}
    seen = env.get("CUDA_VISIBLE_DEVICES")
    gpus = tuple(map(int, seen.split(","))) if seen else tuple(card.index for card in cards)
    assert reading.version
    return Instance(
        name=f"{slug}/{reading.name}",
        version=reading.version,
        build=build_of_ollama(reading.version).number,
        gpus=gpus,
        env=env,
        installed=tuple(blobs),
        blobs=blobs,
    )


# --- what is done --------------------------------------------------------------------------------


def apply(stage: Stage, plan: Plan) -> dict[tuple[str, int], LoadProgress]:
    """Pull, make the aliases and load, in the plan's order; return what came of each load."""
    return {
        (each.deployment.name, each.replica): _apply_one(stage, each) for each in in_order(plan)
    }


def in_order(plan: Plan) -> list[Placement]:
    """Sort placements as they are loaded."""
    return sorted(plan.placements, key=lambda each: (each.choice.instance, each.load_order))


def _apply_one(stage: Stage, placement: Placement) -> LoadProgress:
    choice, alias = placement.choice, served(placement)
    slug, _, instance = choice.instance.partition("/")
    if choice.download_bytes:
        stage.pull(slug, instance, choice.variant.name)
    wished = {
        "num_ctx": choice.ctx,
        "num_batch": choice.num_batch,
        "num_gpu": choice.num_gpu,
        "main_gpu": choice.main_gpu,
    }
    made = stage.create(slug, instance, model=alias, base=choice.variant.name, parameters=wished)
    assert made.phase == "done", made
    keep_s = -1 if placement.deployment.resident else SHORT_S
    return stage.load(slug, instance, alias, keep_s=keep_s)


def judged(
    stage: Stage, lab: Lab, plan: Plan, *, was_loaded: bool = False, verdicts: set[str]
) -> dict[tuple[str, int], Checked]:
    """Check until the verdicts are those that are expected, or for some seconds."""
    return settled(
        lambda: check(stage, lab, plan, was_loaded=was_loaded),
        lambda found: {each.verdict for each in found.values()} == verdicts,
    )


# --- what is seen --------------------------------------------------------------------------------


def check(
    stage: Stage, lab: Lab, plan: Plan, *, was_loaded: bool = False
) -> dict[tuple[str, int], Checked]:
    """Compare each placement with a fresh sample of its node."""
    return {
        (each.deployment.name, each.replica): check_one(stage, lab, each, was_loaded=was_loaded)
        for each in plan.placements
    }


def check_one(stage: Stage, lab: Lab, placement: Placement, *, was_loaded: bool = False) -> Checked:
    """Compare one placement with what its node's worker reports now."""
    seen = seen_of(stage, placement, was_loaded=was_loaded)
    return verify(expected_of(lab, placement), seen)


def expected_of(lab: Lab, placement: Placement) -> Expected:
    """Say what the plan expects."""
    choice = placement.choice
    node, instance = lab.homes[choice.instance]
    return Expected(
        bytes=choice.bytes,
        layers=choice.layers,
        ctx=choice.ctx,
        visible_gpus=len(instance.gpus),
        overheads=dict(_overheads(node, placement)),
        left_out_bytes=left_out_bytes(choice),
    )


def _overheads(node: Node, placement: Placement) -> Iterator[tuple[str, int]]:
    moe = placement.choice.variant.model.shape.experts is not None
    for card in node.cards:
        device = f"{node.name}/{card.index}"
        if device in placement.choice.gpu_devices:
            yield device, overhead_of(vendor=card.vendor, sm_count=card.sm_count, moe=moe).bytes


def seen_of(stage: Stage, placement: Placement, *, was_loaded: bool) -> Seen:
    """Read a model's memory from a fresh sample, all names of its weights as one."""
    choice = placement.choice
    slug, _, instance = choice.instance.partition("/")
    sample, names = stage.sample(slug), _names(stage, placement)
    reading = next(each for each in sample.instances if each.name == instance)
    entry = next((each for each in reading.loaded or () if each.name in names), None)
    return _seen(entry, _held(sample, instance, names), was_loaded=was_loaded)


def _seen(entry: LoadedModel | None, held: Mapping[str, int] | None, *, was_loaded: bool) -> Seen:
    if entry is None:
        return Seen(listed=False, was_loaded=was_loaded)
    return Seen(
        listed=True,
        was_loaded=was_loaded,
        ctx=entry.context_length,
        size_bytes=entry.size_bytes,
        size_vram_bytes=entry.size_vram_bytes,
        leaves_out_context=entry.leaves_out_context,
        gpu_bytes=held,
    )


def _names(stage: Stage, placement: Placement) -> frozenset[str]:
    slug, _, instance = placement.choice.instance.partition("/")
    return stage.members[slug].watch.same_weights(instance, served(placement))


def _held(sample: Sample, instance: str, names: frozenset[str]) -> dict[str, int] | None:
    if all(gpu.processes is None for gpu in sample.gpus) and sample.gpus:
        return None
    found: dict[str, int] = {}
    for gpu in sample.gpus:
        for each in gpu.processes or ():
            if each.model in names and each.instance in {None, instance}:
                device = f"{sample.node}/{gpu.index}"
                found[device] = found.get(device, 0) + (each.used_bytes or 0)
    return found
