"""Labs made by chance from a seed: unlike cards, several instances, Macs, machines without a GPU.

Models are those of the catalog, made by the rules of llama-quantize, one object for each quant.
"""

from dataclasses import replace
from functools import cache
from random import Random

from labdash.catalog.models import find_model
from labdash.planner.lab import Card, Deployment, Instance, Lab, Node, Variant
from labdash.planner.model import Model
from labdash.planner.stock import stock_model

GIB = 2**30
BUILD = 10573
# Quants from the best to the smallest, and what they lose.
LOSSES = {"Q8_0": 0.001, "Q6_K": 0.004, "Q5_K_M": 0.01, "Q4_K_M": 0.03, "Q3_K_M": 0.09}
QUANTS = tuple(LOSSES)
MODELS = (
    "llama3.2:1b", "llama3.2:3b", "qwen3:4b", "llama3.1:8b", "gemma3:12b", "qwen3:14b",
    "qwen2.5:7b", "mistral:7b", "gemma2:9b", "phi4:14b", "qwen3:8b", "gemma3:4b", "granite3.3:8b",
    "mistral-nemo:12b", "qwen2.5:14b", "mistral-small:24b", "qwen3:30b",
)  # fmt: skip
SMALL = MODELS[:5]
# Name, GiB, GB/s, multiprocessors.
CARDS = (
    ("NVIDIA GeForce GTX 1660 SUPER", 6, 336.0, 22),
    ("NVIDIA GeForce RTX 4060", 8, 272.0, 24),
    ("NVIDIA GeForce RTX 3060", 12, 360.0, 28),
    ("NVIDIA GeForce RTX 4070 Ti SUPER", 16, 672.0, 66),
    ("NVIDIA GeForce RTX 3090", 24, 936.0, 82),
    ("NVIDIA GeForce RTX 4090", 24, 1008.0, 128),
    ("NVIDIA RTX A6000", 48, 768.0, 84),
)
CONTEXTS = (2048, 4096, 8192, 16384, 32768)


@cache
def model(name: str, quant: str) -> Model:
    """Make a model of the catalog."""
    known = find_model(name).model
    return stock_model(known.name, known.metadata, quant, tied=bool(known.tied))


@cache
def variant(name: str, quant: str, *, losses: bool = True) -> Variant:
    """Make the file of a quant, as if it were published."""
    made = model(name, quant)
    return Variant(
        name=f"{name}-{quant.lower()}",
        quant=quant,
        model=made,
        file_bytes=made.weight_bytes,
        names=frozenset({f"{name}-{quant.lower()}"}),
        digest=f"sha256:{name}-{quant}",
        loss=LOSSES[quant] if losses else None,
    )


def card(index: int, which: int, **changes: object) -> Card:
    """Take one of the cards."""
    name, gib, bandwidth, units = CARDS[which]
    made = Card(
        index=index,
        name=name,
        total_bytes=gib * GIB,
        used_bytes=GIB // 2,
        vendor="nvidia",
        sm_count=units,
        bandwidth_gbs=bandwidth,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def gpu_node(name: str, *which: int, instances: int = 1, ram_gib: int = 64) -> Node:
    """Make a machine with cards. Every instance sees all of them."""
    cards = tuple(card(index, each) for index, each in enumerate(which))
    return Node(
        name=name,
        ram_bytes=ram_gib * GIB,
        ram_used_bytes=4 * GIB,
        ram_gbs=60.0,
        disk_free_bytes=400 * GIB,
        cards=cards,
        instances=tuple(
            Instance(
                name=f"{name}:{11434 + number}",
                version="0.32.15",
                build=BUILD,
                gpus=tuple(range(len(which))),
            )
            for number in range(instances)
        ),
    )


def mac(name: str, gib: int, gbs: float = 273.0) -> Node:
    """Make a Mac, three quarters of whose memory its GPU may take."""
    shared = Card(
        index=0,
        name="Apple M4 Pro",
        total_bytes=gib * GIB * 3 // 4,
        vendor="apple",
        speed_class="apple",
        bandwidth_gbs=gbs,
    )
    only = Instance(name=f"{name}:11434", version="0.32.15", build=BUILD, gpus=(0,))
    return Node(
        name=name,
        kind="mac",
        unified=True,
        ram_bytes=gib * GIB,
        ram_used_bytes=5 * GIB,
        ram_gbs=gbs,
        disk_free_bytes=200 * GIB,
        cards=(shared,),
        instances=(only,),
    )


def want(
    name: str, model: str, quants: tuple[str, ...], ctx: tuple[int, int], **changes: object
) -> Deployment:
    """Wish for a model: quants from the best to the floor, context from the floor to the wish."""
    made = Deployment(
        name=name,
        model=model,
        variants=tuple(variant(model, quant) for quant in quants),
        ctx_floor=ctx[0],
        ctx_wish=ctx[1],
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def small_lab(seed: int) -> Lab:
    """Make one to three machines and two to four deployments, with too little memory mostly."""
    random = Random(seed)  # noqa: S311 - for tests
    nodes = tuple(_node(random, f"n{index}", cards=2) for index in range(random.randint(1, 3)))
    count = random.randint(2, 4)
    wanted = [_wanted(random, f"d{index}", nodes) for index in range(count)]
    return Lab(nodes=nodes, deployments=_apart(random, wanted))


def middle_lab(seed: int) -> Lab:
    """Make 8 to 12 machines and 20 to 40 deployments."""
    random = Random(1000 + seed)  # noqa: S311 - for tests
    count = random.randint(8, 12)
    nodes = tuple(_node(random, f"n{index:02}", cards=4) for index in range(count))
    count = random.randint(20, 40)
    names = _models(random, count)
    wanted = [_wanted(random, f"d{index:02}", nodes, names[index]) for index in range(count)]
    return Lab(nodes=nodes, deployments=_apart(random, wanted))


def _models(random: Random, count: int) -> list[str]:
    """Choose models, each again only when all have been chosen."""
    return [
        name for _ in range(count // len(MODELS) + 1) for name in random.sample(MODELS, len(MODELS))
    ]


def even_lab(seed: int, *, nodes: int, cards: int, deployments: int) -> Lab:
    """Make a rack: machines of four kinds, each with equal cards."""
    random = Random(2000 + seed)  # noqa: S311 - for tests
    kinds = [_kind(random, cards) for _ in range(4)]
    machines = tuple(
        gpu_node(f"n{index:03}", *kinds[index % 4], ram_gib=128) for index in range(nodes)
    )
    names = _models(random, deployments)
    wanted = [
        _wanted(random, f"d{index:03}", machines, names[index]) for index in range(deployments)
    ]
    return Lab(nodes=machines, deployments=tuple(wanted))


def _kind(random: Random, cards: int) -> tuple[int, ...]:
    return (random.randint(2, len(CARDS) - 1),) * cards


def _node(random: Random, name: str, *, cards: int) -> Node:
    kind = random.random()
    if kind < 0.12:
        return mac(name, random.choice((16, 24, 36)))
    if kind < 0.22:
        return gpu_node(name, ram_gib=random.choice((16, 32)))
    most = 4 if cards < 3 else len(CARDS) - 1
    which = [random.randint(0, most) for _ in range(random.randint(1, cards))]
    if random.random() < 0.4:
        which = which[:1] * len(which)
    made = gpu_node(name, *which, ram_gib=random.choice((16, 32, 64)))
    return _strange(random, made)


def _strange(random: Random, node: Node) -> Node:
    """Make a machine less plain: an instance a card, a second one, env, a card in use."""
    instances = list(node.instances)
    roll = random.random()
    if roll < 0.15 and len(node.cards) > 1:
        instances = [
            replace(instances[0], name=f"{node.name}:{11434 + index}", gpus=(index,))
            for index in range(len(node.cards))
        ]
    elif roll < 0.3:
        instances.append(replace(instances[0], name=f"{node.name}:11500"))
    if random.random() < 0.25:
        env = {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": "1"}
        instances[0] = replace(instances[0], env=env)
    if random.random() < 0.15:
        instances = [replace(each, version="0.24.0") for each in instances]
    cards = list(node.cards)
    if random.random() < 0.2:
        cards[0] = replace(cards[0], used_bytes=random.randint(1, 4) * GIB)
    if random.random() < 0.15:
        cards[-1] = replace(cards[-1], reserve_bytes=2 * GIB)
    disk = random.choice((8, 20, 400)) * GIB
    return replace(node, cards=tuple(cards), instances=tuple(instances), disk_free_bytes=disk)


def _wanted(
    random: Random, name: str, nodes: tuple[Node, ...], model: str | None = None
) -> Deployment:
    """Wish for something; without a model for a small one, with few choices."""
    small = model is None
    chosen = model or random.choice(SMALL)
    most = 2 if small else 3
    first = random.randint(0, 3)
    last = min(len(QUANTS) - 1, first + random.randint(0, most - 1))
    low = random.randint(0, 3)
    high = min(len(CONTEXTS) - 1, low + random.randint(0, 1 if small else 3))
    changes: dict[str, object] = {
        "priority": random.choice((1, 3, 3, 5)),
        "prefer": random.choice(("quality", "quality", "context", "speed")),
        "residency": random.choice(("resident", "resident", "on-demand")),
        "offload_allowed": random.random() < 0.25,
    }
    if random.random() < 0.12:
        changes["replicas"] = 2
    if random.random() < 0.15:
        changes["min_tokens_per_s"] = random.choice((10.0, 30.0, 60.0))
    if random.random() < 0.1:
        node = random.choice(nodes)
        changes["pin"] = f"{node.name}/{random.randrange(len(node.cards)) if node.cards else 'cpu'}"
    if random.random() < 0.15:
        changes["give_way"] = ("offload", "quant", "ctx")
    if random.random() < 0.1:
        changes["nodes"] = frozenset({random.choice(nodes).name})
    quants = QUANTS[first : last + 1]
    return want(name, chosen, quants, (CONTEXTS[low], CONTEXTS[high]), **changes)


def _apart(random: Random, wanted: list[Deployment]) -> tuple[Deployment, ...]:
    """Keep two of them apart now and then."""
    if len(wanted) > 1 and random.random() < 0.3:
        one, other = random.sample(range(len(wanted)), 2)
        apart = frozenset({wanted[other].name})
        wanted[one] = replace(wanted[one], keep_apart=apart)
    return tuple(wanted)
