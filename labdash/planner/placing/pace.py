"""How fast a load answers, from where its layers lie."""

from collections.abc import Sequence
from functools import lru_cache
from math import sqrt

from labdash.planner.memory.split import split_layers
from labdash.planner.model import Model
from labdash.planner.reading import Context, Device, Placed, Reading, generation_parts, read_model
from labdash.planner.settings import HOST, Settings
from labdash.planner.speed import Part, generation_speed

# Speeds are told for a context that is filled so far at most.
FILLED = 4096
# RAM of which nobody tells the speed, for what is promised: two channels of old modules, or one.
SLOW_RAM_GBS = 25.0


def parts_of_load(
    model: Model, settings: Settings, gpus: Sequence[Device], host: Device
) -> tuple[list[Part], int]:
    """Tell what each device does for a token, and how often the token passes between them."""
    split = split_layers(model.shape.block_count, settings)
    homes = (*split.layers, split.output)
    placed = [
        Placed(device, [layer for layer, home in enumerate(homes) if home == index])
        for index, device in [*enumerate(gpus), (HOST, host)]
    ]
    filled = Context(
        min(settings.ctx // settings.parallel, FILLED), settings.type_k, settings.type_v
    )
    return generation_parts(_reading(model, _moved(settings)), placed, filled, host=host)


def expected_speed(
    model: Model, settings: Settings, gpus: Sequence[Device], ram_gbs: float | None
) -> float | None:
    """Tell the tokens a second to expect, None where a GPU's bandwidth is not known.

    That is the middle of the range. Unknown RAM is taken as slow, with the range's lower end: who
    asked for a speed must get it on any machine.
    """
    host = Device("RAM", "cpu", ram_gbs or SLOW_RAM_GBS)
    parts, hops = parts_of_load(model, settings, gpus, host)
    moe = model.shape.experts is not None
    on_host = [part for part in parts if part.speed_class == "cpu" and ram_gbs is None]
    others = [part for part in parts if part not in on_host]
    slow = generation_speed(on_host, moe=moe, hops=0)
    usual = generation_speed(others, moe=moe, hops=hops)
    if others and usual is None:
        return None
    seconds = (1 / slow.low if slow else 0.0) + (1 / sqrt(usual.low * usual.high) if usual else 0.0)
    return 1 / seconds if seconds else None


def _moved(settings: Settings) -> str | None:
    patterns = [pattern for pattern, home in settings.all_moves if home == HOST]
    return "|".join(map("(?:{})".format, patterns)) or None


@lru_cache(maxsize=256)
def _reading(model: Model, moved: str | None) -> Reading:
    return read_model(model, cpu_override=moved)
