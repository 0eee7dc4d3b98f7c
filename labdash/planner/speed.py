"""How fast a model answers: a range, from the bytes that each device reads for a token.

Layers on several devices work one after the other, so their times add up:
``time = sum(bytes / (efficiency * bandwidth) + layers * overhead) + hops``. Efficiencies and
overheads are fits of llama.cpp's published benchmarks (8B and 70B Q4_K_M, checked on 8B F16):
XiongjieDai/GPU-Benchmarks-on-LLM-Inference, llama.cpp's own benchmark pages, and single reports.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

type SpeedClass = Literal[
    "nvidia", "nvidia-hbm", "nvidia-old", "amd", "amd-hbm", "intel",
    "apple-m1", "apple-m2", "apple", "cpu",
]  # fmt: skip
type SpeedBasis = Literal["measured", "table"]

GIGA = 1e9
# What a boundary between devices costs: the hidden state is small, waiting for the other is not.
HOP_S = 0.05e-3
# Small experts keep a GPU less busy than one large matrix does.
EXPERT_EFFICIENCY = 0.8
EXPERT_LAYER = 1.5
# What several GPUs gain together on a long prompt, by their number: measured with RTX 4090.
PIPELINE_GAIN = {1: 1.0, 2: 1.24, 3: 1.24}
MOST_PIPELINE_GAIN = 1.39
# GB/s that reach a GPU over PCIe 3.0 x16 and 4.0 x16.
PCIE_GBS = (12.0, 24.0)
# Types of three bits and fewer with a code book (IQ1 to IQ3) cost computing besides reading.
I_QUANT_GPU = 1.15
I_QUANT_CPU = 3.0


@dataclass(frozen=True, slots=True)
class Rates:
    """Ends of a range: share of the theoretical bandwidth, and overhead of a layer."""

    efficiency: tuple[float, float]
    layer_s: tuple[float, float]


# Fitted efficiencies lie inside each range: RTX 2080 to 4090 and A6000 0.83 to 0.92, GB10 0.88,
# A100 0.58, H100 0.66, RX 7900 XTX 0.73 (Vulkan up to 1.3 times ROCm), M2 Ultra 0.77 to 0.84,
# M3 Max 0.91, M1 Max 0.44 with K-quants and 0.7 else. Layers: 0.08 to 0.11 ms with CUDA, 0.05
# since CUDA graphs, 0.05 to 0.22 with Metal. nvidia-old, amd-hbm and intel rest on few reports.
RATES: dict[SpeedClass, Rates] = {
    "nvidia": Rates((0.80, 0.95), (0.11e-3, 0.05e-3)),
    "nvidia-hbm": Rates((0.52, 0.70), (0.12e-3, 0.05e-3)),
    "nvidia-old": Rates((0.45, 0.85), (0.15e-3, 0.05e-3)),
    "amd": Rates((0.60, 0.90), (0.12e-3, 0.05e-3)),
    "amd-hbm": Rates((0.40, 0.55), (0.15e-3, 0.08e-3)),
    "intel": Rates((0.45, 0.65), (0.18e-3, 0.08e-3)),
    "apple-m1": Rates((0.42, 0.72), (0.15e-3, 0.05e-3)),
    "apple-m2": Rates((0.70, 0.87), (0.20e-3, 0.04e-3)),
    "apple": Rates((0.75, 0.93), (0.23e-3, 0.05e-3)),
    "cpu": Rates((0.60, 0.85), (0.03e-3, 0.01e-3)),
}


@dataclass(frozen=True, slots=True)
class Part:
    """What one device does for a token. ``bandwidth_gbs`` is None where it is not known.

    ``read_bytes`` are weights and cache. ``layers`` counts the output layer too.
    ``i_quant_share`` is the share of the weights in IQ1, IQ2 and IQ3 types.
    """

    speed_class: SpeedClass
    bandwidth_gbs: float | None
    read_bytes: int
    layers: int
    i_quant_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second. A measured speed has both ends equal."""

    low: float
    high: float
    basis: SpeedBasis


def generation_speed(
    parts: Sequence[Part],
    *,
    moe: bool = False,
    hops: int | None = None,
    measured: float | None = None,
) -> Speed | None:
    """Tell the tokens a second of one answer, None where a bandwidth is not known.

    ``moe`` where the layers hold experts. ``hops`` is how often a token passes from one device
    to another, None for parts that each hold a row of layers.
    """
    if measured is not None:
        return Speed(measured, measured, "measured")
    slow, fast = 0.0, 0.0
    for part in parts:
        if part.bandwidth_gbs is None:
            return None
        slow += _slowest_s(part, part.bandwidth_gbs, moe=moe)
        fast += _fastest_s(part, part.bandwidth_gbs)
    if not fast:
        return None
    waiting = HOP_S * (len(parts) - 1 if hops is None else hops)
    return Speed(1 / (slow + waiting), 1 / (fast + waiting), "table")


def _slowest_s(part: Part, bandwidth_gbs: float, *, moe: bool) -> float:
    rates = RATES[part.speed_class]
    on_gpu = part.speed_class != "cpu"
    penalty = I_QUANT_GPU if on_gpu else I_QUANT_CPU
    reading = part.read_bytes / (rates.efficiency[0] * bandwidth_gbs * GIGA)
    reading *= 1 + part.i_quant_share * (penalty - 1)
    layer = rates.layer_s[0]
    if moe and on_gpu:
        reading, layer = reading / EXPERT_EFFICIENCY, layer * EXPERT_LAYER
    return reading + part.layers * layer


def _fastest_s(part: Part, bandwidth_gbs: float) -> float:
    rates = RATES[part.speed_class]
    reading = part.read_bytes / (rates.efficiency[1] * bandwidth_gbs * GIGA)
    return reading + part.layers * rates.layer_s[1]


# Useful TFLOPS of llama.cpp on a prompt of an 8B model for each unit of a GPU (multiprocessor,
# compute unit, core): from RTX 3090, A6000, 4090, A100, H100, P40, V100, RX 7900 XTX, M1 Max,
# M2 Ultra and M3 Max. The tuple's ends allow for clocks and for quantizations.
MEASURED_TFLOPS = {
    "6.1": 0.44, "7.0": 0.66, "8.0": 0.86, "8.6": 0.72, "8.9": 0.86, "9.0": 1.09,
    "gfx1100": 0.54, "m1": 0.178, "m2": 0.216, "m3": 0.27,
}  # fmt: skip
MEASURED_SPREAD = (0.75, 1.25)
# Relatives of a measured generation, taken for it with more doubt.
ASSUMED_TFLOPS = {
    "7.5": 0.6, "12.0": 0.86, "12.1": 0.86, "10.0": 1.09, "gfx1101": 0.54, "gfx1102": 0.54,
    "gfx1151": 0.54, "gfx1200": 0.54, "gfx1201": 0.54, "m4": 0.27, "m5": 0.27,
}  # fmt: skip
ASSUMED_SPREAD = (0.5, 1.5)


def prompt_tflops(arch: str, units: int) -> tuple[float, float] | None:
    """Tell what a GPU computes of a prompt, None where nothing like it was measured."""
    each, spread = MEASURED_TFLOPS.get(arch), MEASURED_SPREAD
    if each is None:
        each, spread = ASSUMED_TFLOPS.get(arch), ASSUMED_SPREAD
    if each is None:
        return None
    return each * units * spread[0], each * units * spread[1]


@dataclass(frozen=True, slots=True)
class PromptPart:
    """What one GPU does of a prompt: ``share`` of the layers, with ``weight_bytes`` of its own.

    ``streamed_bytes`` are weights in the host's memory that it copies over for each batch.
    """

    speed_class: SpeedClass
    bandwidth_gbs: float | None
    tflops: tuple[float, float] | None
    share: float
    weight_bytes: int
    streamed_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt of ``tokens`` in batches of ``ubatch``, on a model of ``params_active``.

    ``attention_width`` is the sum over the layers of heads times head width. ``moe`` where the
    layers hold experts.
    """

    tokens: int
    ubatch: int
    params_active: int
    attention_width: int = 0
    moe: bool = False

    @property
    def flops(self) -> float:
        """Count the operations: each parameter once a token, each token with those before it."""
        return 2.0 * self.params_active * self.tokens + 2.0 * self.attention_width * self.tokens**2

    @property
    def batches(self) -> int:
        """Count the passes over the weights."""
        return ceil(self.tokens / self.ubatch)


def prompt_speed(
    parts: Sequence[PromptPart], prompt: Prompt, *, measured: float | None = None
) -> Speed | None:
    """Tell the tokens a second of a prompt, None where a GPU is not known well enough."""
    if measured is not None:
        return Speed(measured, measured, "measured")
    slow, fast = 0.0, 0.0
    for part in parts:
        if part.tflops is None or part.bandwidth_gbs is None:
            return None
        slow += _prompt_s(part, prompt, part.tflops, part.bandwidth_gbs, end=0)
        fast += _prompt_s(part, prompt, part.tflops, part.bandwidth_gbs, end=1)
    if not fast:
        return None
    gain = PIPELINE_GAIN.get(len(parts), MOST_PIPELINE_GAIN)
    return Speed(prompt.tokens / slow, prompt.tokens / fast * gain, "table")


def _prompt_s(
    part: PromptPart, prompt: Prompt, tflops: tuple[float, float], gbs: float, *, end: int
) -> float:
    """Tell the time at one end of the range: the longer of computing and of reading weights."""
    computing = prompt.flops * part.share / (tflops[end] * 1e12)
    if prompt.moe and end == 0:
        computing /= EXPERT_EFFICIENCY
    reach = RATES[part.speed_class].efficiency[end] * gbs * GIGA
    reading = part.weight_bytes * prompt.batches / reach
    copying = part.streamed_bytes * prompt.batches / (PCIE_GBS[end] * GIGA)
    return max(computing, reading) + copying
