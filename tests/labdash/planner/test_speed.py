"""Ranges of speed hold what others measured."""

import pytest

from labdash.planner.speed import (
    Part,
    Prompt,
    PromptPart,
    Speed,
    SpeedClass,
    generation_speed,
    prompt_speed,
    prompt_tflops,
)

# Bytes that Llama 3 reads for a token: its tensors less the table of token embeddings.
LLAMA_8B = 4_912_898_304 - 128_256 * 4096 * 9 // 16
LLAMA_8B_F16 = 16_061_055_232 - 128_256 * 4096 * 2
LLAMA_70B = 42_512_531_712 - 128_256 * 8192 * 9 // 16


def on(speed_class: SpeedClass, gbs: float, size: int, layers: int, gpus: int = 1) -> Speed:
    """Tell the speed of a model that is shared evenly by equal GPUs."""
    parts = [Part(speed_class, gbs, size // gpus, layers // gpus)] * gpus
    speed = generation_speed(parts)
    assert speed is not None
    return speed


# llama.cpp, one answer: XiongjieDai/GPU-Benchmarks-on-LLM-Inference; 70B on two 24 GB cards.
CALIBRATION: list[tuple[SpeedClass, float, int, float, float, float]] = [
    ("nvidia", 1008, 2, 127.7, 19.06, 54.3),  # RTX 4090
    ("nvidia", 936, 2, 111.7, 16.29, 46.5),  # RTX 3090
    ("nvidia", 768, 1, 102.2, 14.58, 40.3),  # RTX A6000
    ("nvidia-hbm", 1935, 1, 138.3, 22.11, 54.6),  # A100 PCIe
    ("nvidia-hbm", 2039, 1, 144.5, 25.01, 67.8),  # H100 PCIe
    ("apple-m2", 800, 1, 76.3, 12.13, 36.3),  # M2 Ultra
    ("apple", 400, 1, 50.7, 7.53, 22.4),  # M3 Max
    ("apple-m1", 400, 1, 34.5, 4.09, 18.4),  # M1 Max
]


@pytest.mark.parametrize(("speed_class", "gbs", "gpus", "small", "large", "wide"), CALIBRATION)
def test_the_range_holds_the_measured_speed(
    speed_class: SpeedClass, gbs: float, gpus: int, small: float, large: float, wide: float
) -> None:
    ranges = (
        (on(speed_class, gbs, LLAMA_8B, 33), small),
        (on(speed_class, gbs, LLAMA_70B, 81, gpus), large),
        (on(speed_class, gbs, LLAMA_8B_F16, 33), wide),
    )
    assert [measured for speed, measured in ranges if not speed.low <= measured <= speed.high] == []
    assert all(speed.high < 2 * speed.low for speed, _ in ranges)


@pytest.mark.parametrize(
    ("speed_class", "gbs", "size", "layers", "measured"),
    [
        # RTX 2080, Llama 3 of 8B, 3B and 1B (output tied to the embeddings), Q4_K_M.
        ("nvidia", 448, LLAMA_8B, 33, 71.7),
        ("nvidia", 448, 2_019_377_152, 29, 140.3),
        ("nvidia", 448, 807_694_464, 17, 304),
        ("amd", 960, LLAMA_8B, 33, 105.8),  # RX 7900 XTX, ROCm
        ("nvidia", 273, 7_030_000_000, 33, 29.4),  # GB10, 7B Q8_0
        ("apple-m2", 800, 7_030_000_000, 33, 79.7),  # M2 Ultra, 7B Q8_0
    ],
)
def test_the_range_holds_single_reports(
    speed_class: SpeedClass, gbs: float, size: int, layers: int, measured: float
) -> None:
    speed = on(speed_class, gbs, size, layers)
    assert speed.low <= measured <= speed.high


# Bytes for a token of Qwen3-30B-A3B in Q8_0 (34/32 byte): eight experts of three matrices, then
# attention and output.
EXPERTS_30B = 48 * 8 * 3 * 2048 * 768
DENSE_30B = 48 * (2 * 2048 * 4096 + 2 * 2048 * 512) + 151_936 * 2048


def gpt_oss(layers: int) -> int:
    """Count the bytes for a token of gpt-oss: four experts in MXFP4, the rest in Q8_0."""
    experts = layers * 4 * 3 * 2880 * 2880 * 17 // 32
    dense = layers * 2880 * 64 * (2 * 64 + 2 * 8) + 201_088 * 2880
    return experts + dense * 34 // 32


@pytest.mark.parametrize(
    ("speed_class", "gbs", "small", "large", "wide"),
    [("nvidia", 273, 83.4, 58.7, 61.1), ("apple-m2", 800, 130, 85.6, 79.0)],  # GB10, M2 Ultra
)
def test_the_range_holds_mixtures_of_experts(
    speed_class: SpeedClass, gbs: float, small: float, large: float, wide: float
) -> None:
    sizes = [(gpt_oss(24), 25), (gpt_oss(36), 37), ((EXPERTS_30B + DENSE_30B) * 34 // 32, 49)]
    for (size, layers), measured in zip(sizes, (small, large, wide), strict=True):
        speed = generation_speed([Part(speed_class, gbs, size, layers)], moe=True)
        assert speed is not None
        assert speed.low <= measured <= speed.high


def test_the_range_holds_experts_on_the_cpu() -> None:
    """RTX 2080 beside four channels of DDR4, 36 of 48 blocks' experts on the CPU: 36.7."""
    bits = 4.85
    gpu = int((DENSE_30B + EXPERTS_30B / 4) * bits / 8)
    cpu = int(EXPERTS_30B * 3 / 4 * bits / 8)
    parts = [Part("nvidia", 448, gpu, 49), Part("cpu", 102.4, cpu, 36)]
    speed = generation_speed(parts, moe=True, hops=72)
    assert speed is not None
    assert speed.low <= 36.7 <= speed.high


def test_devices_work_one_after_the_other() -> None:
    alone = on("nvidia", 936, LLAMA_8B, 32)
    shared = on("nvidia", 936, LLAMA_8B, 32, 2)
    assert shared.low < alone.low
    assert shared.high < alone.high


def test_small_code_book_types_may_be_slower_above_all_on_a_cpu() -> None:
    def low(speed_class: SpeedClass, share: float) -> float:
        speed = generation_speed([Part(speed_class, 100, 10**9, 32, share)])
        assert speed is not None
        return speed.low

    assert low("nvidia", 1.0) < low("nvidia", 0.0)
    assert low("cpu", 1.0) < low("cpu", 0.0) / 2


def test_a_measured_speed_takes_precedence() -> None:
    assert generation_speed([], measured=41.5) == Speed(41.5, 41.5, "measured")
    assert prompt_speed([], Prompt(100, 512, 10**9), measured=900.0) == Speed(900, 900, "measured")


def test_an_unknown_bandwidth_gives_no_speed() -> None:
    known = Part("nvidia", 936, 10**9, 16)
    assert generation_speed([known, Part("cpu", None, 10**9, 16)]) is None
    assert generation_speed([]) is None


# Prompts of an 8B model, tokens a second.
@pytest.mark.parametrize(
    ("arch", "units", "gbs", "measured"),
    [
        ("8.9", 128, 1008, 6899),  # RTX 4090
        ("8.6", 82, 936, 3865),  # RTX 3090
        ("8.0", 108, 1935, 5800),  # A100
        ("6.1", 30, 347, 831),  # P40
        ("7.0", 80, 900, 3331),  # V100
        ("gfx1100", 96, 960, 3227),  # RX 7900 XTX
    ],
)
def test_the_range_holds_the_measured_speed_of_a_prompt(
    arch: str, units: int, gbs: float, measured: float
) -> None:
    part = PromptPart("nvidia", gbs, prompt_tflops(arch, units), 1.0, LLAMA_8B)
    speed = prompt_speed([part], Prompt(1024, 512, 8_030_261_248))
    assert speed is not None
    assert speed.low <= measured <= speed.high


# Prompts of 2048 tokens in llama.cpp's own benchmarks: gpt-oss 20B and 120B (MXFP4), and
# Qwen3-30B-A3B (Q8_0).
@pytest.mark.parametrize(
    ("speed_class", "gbs", "arch", "units", "measured"),
    [
        ("nvidia", 273, "12.1", 48, (4506, 2444, 2987)),  # GB10
        ("apple-m2", 800, "m2", 76, (2713, 1649, 2453)),  # M2 Ultra
    ],
)
def test_the_range_holds_prompts_of_mixtures_of_experts(
    speed_class: SpeedClass, gbs: float, arch: str, units: int, measured: tuple[float, ...]
) -> None:
    models = [(3_600_000_000, 12 * 10**9), (5_100_000_000, 63 * 10**9), (3_350_000_000, 32 * 10**9)]
    for (active, size), rate in zip(models, measured, strict=True):
        part = PromptPart(speed_class, gbs, prompt_tflops(arch, units), 1.0, size)
        speed = prompt_speed([part], Prompt(2048, 2048, active, moe=True))
        assert speed is not None
        assert speed.low <= rate <= speed.high


def test_two_gpus_gain_on_a_prompt_what_was_measured() -> None:
    part = PromptPart("nvidia", 1008, prompt_tflops("8.9", 128), 0.5, LLAMA_8B // 2)
    speed = prompt_speed([part, part], Prompt(1024, 512, 8_030_261_248))
    assert speed is not None
    assert speed.low <= 8545 <= speed.high


def test_weights_in_the_host_s_memory_slow_a_prompt_and_larger_batches_help() -> None:
    def high(streamed: int, ubatch: int) -> float:
        part = PromptPart("nvidia", 936, (50.0, 60.0), 1.0, 10**9, streamed)
        speed = prompt_speed([part], Prompt(4096, ubatch, 8 * 10**9))
        assert speed is not None
        return speed.high

    assert high(4 * 10**9, 512) < high(4 * 10**9, 2048) < high(0, 2048)


def test_a_longer_prompt_costs_attention() -> None:
    def high(tokens: int) -> float:
        part = PromptPart("nvidia", 936, (50.0, 60.0), 1.0, 10**9)
        speed = prompt_speed([part], Prompt(tokens, 512, 8 * 10**9, attention_width=32 * 4096))
        assert speed is not None
        return speed.high

    assert high(65_536) < high(4096)


@pytest.mark.parametrize("arch", ["gfx803", "xe2"])
def test_a_gpu_unlike_any_measured_has_no_speed_of_a_prompt(arch: str) -> None:
    assert prompt_tflops(arch, 36) is None
    part = PromptPart("amd", 256, prompt_tflops(arch, 36), 1.0, 10**9)
    assert prompt_speed([part], Prompt(1024, 512, 8 * 10**9)) is None
