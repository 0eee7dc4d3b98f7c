"""Whatever is chosen and settled fits by the memory model itself, estimated anew."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from labdash.planner.lab import Deployment, Node
from labdash.planner.loading import Load, Pick, Settled, settle
from labdash.planner.memory.estimate import estimate
from labdash.planner.memory.fit import fit
from labdash.planner.placement import choices
from labdash.planner.plan import Choice
from labdash.planner.settings import ALL_LAYERS, Gpu, Settings
from tests.labdash.planner.small_labs import GIB, card, deployment, instance, lab, node, variant

QUANTS = ("Q8_0", "Q6_K", "Q4_K_M")
MODELS = ("qwen3:8b", "llama3.2:3b", "qwen3:14b", "qwen3:30b", "llama3.2:1b")
ENVIRONMENTS: tuple[dict[str, str], ...] = (
    {},
    {"OLLAMA_KV_CACHE_TYPE": "q8_0"},
    {"OLLAMA_NUM_PARALLEL": "2"},
    {"OLLAMA_SCHED_SPREAD": "1"},
    {"LLAMA_ARG_FIT_TARGET": "512"},
    {"LLAMA_ARG_FIT": "off"},
)


def some_node(chance: Random) -> Node:
    """Make up a machine."""
    count = chance.choice((0, 1, 1, 2, 2, 3))
    cards = tuple(
        card(
            chance.choice((8.0, 12.0, 16.0, 24.0)),
            index,
            used_bytes=int(chance.choice((0.0, 0.4, 2.5)) * GIB),
            reserve_bytes=int(chance.choice((0.0, 0.0, 1.5)) * GIB),
            margin_bytes=chance.choice((None, None, GIB // 2, 2 * GIB)),
        )
        for index in range(count)
    )
    old: dict[str, Any] = {"version": "0.20.1", "build": 6900}
    facts = old if chance.random() < 0.2 else {}
    servers = [instance("rog", count, chance.choice(ENVIRONMENTS), **facts)]
    if count == 3:
        servers.append(replace(instance("rog", 1, name="rog:11435"), gpus=(2,)))
    ram = int(chance.choice((16.0, 48.0)) * GIB)
    return node("rog", cards=cards, instances=tuple(servers), ram_bytes=ram)


def some_deployment(chance: Random, name: str) -> Deployment:
    """Make up a wish."""
    model = chance.choice(MODELS)
    first = chance.randrange(len(QUANTS))
    return deployment(
        *(variant(model, quant) for quant in QUANTS[first:]),
        name=name,
        ctx_floor=chance.choice((4096, 8192)),
        ctx_wish=chance.choice((8192, 32_768)),
        offload_allowed=chance.random() < 0.5,
        residency=chance.choice(("resident", "resident", "on-demand")),
    )


def estimated(where: Node, choice: Choice, used: Counter[str]) -> dict[str, int]:
    """Estimate a choice anew; ``used`` is what planned loads hold of each device."""
    server = next(each for each in where.instances if each.name == choice.instance)
    numbers = [int(device.rpartition("/")[2]) for device in choice.gpu_devices]
    cards = [where.cards[number] for number in numbers]
    gpus = tuple(
        Gpu(each.total_bytes - each.used_bytes - used[f"rog/{each.index}"], "nvidia", 82)
        for each in cards
    )
    settings = Settings(
        build=server.build,
        ctx=choice.ctx * choice.parallel,
        parallel=choice.parallel,
        type_k=choice.kv_type,
        type_v=choice.kv_type,
        gpus=gpus,
        gpu_layers=ALL_LAYERS if choice.num_gpu is None else choice.num_gpu,
        dry_run=False,
    )
    if choice.num_gpu is None and server.version != "0.20.1" and choice.form != "cpu":
        target = server.env.get("LLAMA_ARG_FIT_TARGET", "1024")
        margin = 0 if "LLAMA_ARG_FIT" in server.env else int(target) << 20
        settings = fit(
            choice.variant.model, settings, margin_bytes=margin, ctx_is_free=False
        ).settings
    elif len(gpus) > 1 and server.version == "0.20.1":
        order = sorted(range(len(gpus)), key=lambda i: -(gpus[i].free_bytes or 0))
        shares = [float(choice.layers[choice.gpu_devices[i]]) for i in order]
        settings = replace(settings, gpus=tuple(gpus[i] for i in order), tensor_split=tuple(shares))
        numbers = [numbers[i] for i in order]
    found = estimate(choice.variant.model, settings)
    sizes = {f"rog/{n}": d.total_bytes for n, d in zip(numbers, found.devices, strict=True)}
    return {**sizes, "rog/cpu": found.host.total_bytes}


def room(where: Node, device: str) -> int:
    index = device.rpartition("/")[2]
    return (where.ram_bytes or 0) if index == "cpu" else where.cards[int(index)].room_bytes


def require_room(where: Node, choice: Choice, used: Counter[str]) -> None:
    for device, size in estimated(where, choice, used).items():
        margin = 0 if device.endswith("cpu") else choice.margin_bytes
        assert choice.bytes[device] == size
        assert used[device] + size + margin <= room(where, device), (device, choice)


def picked(chance: Random, where: Node) -> Iterator[Pick]:
    for number in range(chance.randrange(1, 5)):
        wanted = some_deployment(chance, f"d{number}")
        made = choices(lab(where), wanted)
        if made:
            yield Pick(deployment=wanted, replica=0, choice=chance.choice(made))


@pytest.mark.parametrize("seed", range(0, 20, 2))
def test_no_choice_is_larger_than_the_room_without_the_margin(seed: int) -> None:
    chance = Random(seed)  # noqa: S311 - any numbers do
    where = some_node(chance)
    made = choices(lab(where), some_deployment(chance, "a"))
    for choice in chance.sample(made, min(len(made), 12)):
        require_room(where, choice, Counter())


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_what_is_settled_fits_at_each_load_and_drives_nothing_out(seed: int) -> None:
    chance = Random(seed)  # noqa: S311 - any numbers do
    where = some_node(chance)
    found = settle(where, list(picked(chance, where)))
    if not isinstance(found, Settled):
        return
    staying = [each for each in found.loads if each.pick.deployment.resident and not each.shares]
    used = replayed(where, staying)
    guests: dict[str, Counter[str]] = {}
    for load in found.loads:
        if not load.pick.deployment.resident and not load.shares:
            others = sum(
                (most for name, most in guests.items() if name != load.choice.instance), Counter()
            )
            require_room(where, load.choice, used + others)
            guests.setdefault(load.choice.instance, Counter())
            guests[load.choice.instance] |= Counter(load.choice.bytes)
    assert found.devices == dict(sum(guests.values(), used))


def replayed(where: Node, loads: list[Load]) -> Counter[str]:
    """Load one after the other as Ollama would."""
    used: Counter[str] = Counter()
    busy: set[str] = set()
    for load in loads:
        choice = load.choice
        require_room(where, choice, used)
        server = next(each for each in where.instances if each.name == choice.instance)
        some = (
            choice.num_gpu is not None and choice.num_gpu <= choice.variant.model.shape.block_count
        )
        if choice.instance in busy and not some and server.version != "0.20.1":
            free = sum(room(where, device) - used[device] for device in choice.gpu_devices)
            assert choice.predicted_bytes <= 0.8 * free
        used.update(choice.bytes)
        busy.add(choice.instance)
    return used
