"""What Ollama decides by itself."""

import pytest

from labdash.planner.errors import PlannerError
from labdash.planner.ollama import (
    GIB,
    MIB,
    Prediction,
    automatic_batch,
    batch_surcharge,
    default_ctx,
    embedding_batch,
    fits_one_gpu,
    parse_version,
    slot_ctx,
    slots,
)

NOW = (0, 32, 15)


@pytest.mark.parametrize(
    ("gpu_gib", "version", "ctx"),
    [
        # Logs: a P4 and a 4070 laptop, a Mac of 24 GB, a 24 GB card, an iGPU of 128 GB.
        (0, NOW, 4096),
        (11.8, NOW, 4096),
        (17.8, NOW, 4096),
        (22.0, NOW, 4096),
        (23.5, NOW, 32_768),
        (46.9, NOW, 32_768),
        (47.0, NOW, 262_144),
        (102.2, NOW, 262_144),
        (102.2, (0, 15, 5), 262_144),
        (102.2, (0, 15, 4), 4096),
    ],
)
def test_the_default_context_follows_the_gpus(
    gpu_gib: float, version: tuple[int, int, int], ctx: int
) -> None:
    assert default_ctx(round(gpu_gib * GIB), version) == ctx


@pytest.mark.parametrize(
    ("num_ctx", "trained", "vision", "ctx"),
    [
        (262_144, 40_960, False, 40_960),
        (8192, 40_960, False, 8192),
        (8192, None, False, 8192),
        (1, 2048, False, 4),
        (512, 8192, True, 2048),
    ],
)
def test_a_context_is_clamped(num_ctx: int, trained: int | None, vision: bool, ctx: int) -> None:
    assert slot_ctx(num_ctx, trained=trained, vision=vision) == ctx


@pytest.mark.parametrize(
    ("ctx", "predicted_gib", "available_gib", "batch"),
    [
        (4096, 1, 100, 512),
        (4097, 1, 100, 1024),
        (32_768, 1, 100, 1024),
        (32_769, 1, 100, 2048),
        # 2048 may follow up to 60 % of the memory, 1024 up to 75 %, both below 80 % with surcharge.
        (65_536, 60, 100, 2048),
        (65_536, 60.1, 100, 1024),
        (65_536, 75, 100, 1024),
        (65_536, 75.1, 100, 512),
        (65_536, 5, 8.7, 1024),
        (65_536, 5, 7, 512),
        (8192, 5, 7.2, 1024),
        (8192, 5, 7.1, 512),
        (8192, 5, 0, 512),
    ],
)
def test_the_batch_follows_context_and_room(
    ctx: int, predicted_gib: float, available_gib: float, batch: int
) -> None:
    predicted, available = round(predicted_gib * GIB), round(available_gib * GIB)
    chosen = automatic_batch(ctx, predicted_bytes=predicted, available_bytes=available)
    assert chosen == batch


# SmolLM2 135M Q4_1 on a real server with two devices of 2 GiB, twelve slots and one.
SMOLLM2 = Prediction(98_362_432, block_count=30, heads_kv=3, heads=9, embd=576)


@pytest.mark.parametrize(
    ("ctx", "devices", "batch"),
    [(98_304, 2, 1024), (98_304, 1, 512), (8192, 1, 1024), (4096, 1, 512)],
)
def test_the_batch_is_the_one_that_a_real_server_chose(ctx: int, devices: int, batch: int) -> None:
    chosen = automatic_batch(
        ctx, predicted_bytes=SMOLLM2.bytes(ctx), available_bytes=devices * 2 * GIB
    )
    assert chosen == batch


@pytest.mark.parametrize(
    ("ctx", "gpu_gib", "batch"),
    [(65_536, [24], 512), (65_536, [24, 8], 256), (4096, [8], 512), (65_536, [], 2048)],
)
def test_without_flash_attention_cuda_gets_a_small_batch(
    ctx: int, gpu_gib: list[int], batch: int
) -> None:
    cuda = [size * GIB for size in gpu_gib]
    chosen = automatic_batch(
        ctx,
        predicted_bytes=GIB,
        available_bytes=100 * GIB,
        flash_attn=False,
        cuda_gpu_bytes=cuda,
    )
    assert chosen == batch


def test_a_larger_batch_has_a_surcharge() -> None:
    sizes = (256, 512, 1024, 2048)
    assert [batch_surcharge(size) for size in sizes] == [0, 0, 768 * MIB, 2 * GIB]


def test_an_embedding_model_reads_its_context_at_once_up_to_2048() -> None:
    assert (embedding_batch(512), embedding_batch(8192)) == (512, 2048)


def test_a_prediction_counts_the_file_and_a_plain_cache() -> None:
    llama = Prediction(4_920_734_272, block_count=32, heads_kv=8, heads=32, embd=4096)
    assert llama.bytes(8192) == 4_920_734_272 + GIB


def test_one_gpu_is_filled_to_four_fifths() -> None:
    assert fits_one_gpu(16 * GIB, 20 * GIB)
    assert not fits_one_gpu(16 * GIB + 1, 20 * GIB)


@pytest.mark.parametrize(
    ("arch", "embedding", "count"),
    [("llama", False, 4), ("bert", True, 1), ("qwen35moe", False, 1), ("qwen3", False, 4)],
)
def test_some_models_get_one_slot(arch: str, embedding: bool, count: int) -> None:
    assert slots(arch, 4, embedding=embedding) == count


@pytest.mark.parametrize(
    ("text", "version"),
    [("0.32.15", (0, 32, 15)), ("v0.33.0-rc2", (0, 33, 0)), ("0.32.1+local", (0, 32, 1))],
)
def test_a_version_is_read(text: str, version: tuple[int, int, int]) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "0.32", "latest", "0.32.x", "1" * 5000])
def test_no_version_is_refused(text: str) -> None:
    with pytest.raises(PlannerError):
        parse_version(text)
