"""Where each version family puts a model."""

import pytest

from tests.workers.simlab.loads import request, rooms
from workers.simlab.catalog import models
from workers.simlab.fit import proportional
from workers.simlab.loads import LoadRefused
from workers.simlab.memory import MIB, caches
from workers.simlab.placement import (
    Placement,
    is_old,
    must_evict,
    place,
    predicted_bytes,
    visible,
)

NEW, OLD = "0.32.15", "0.24.0"


def indices(placed: Placement) -> set[int]:
    return {index for index, size in placed.by_gpu.items() if size}


def test_versions_are_told_apart_at_their_numbers() -> None:
    assert is_old("0.24.0")
    assert is_old("0.9.1")
    assert not is_old("0.30.0")
    assert not is_old("1.0.0")


def test_prediction_is_file_plus_a_naive_cache() -> None:
    """8B: 32 blocks of 8 heads of 128, keys and values, two bytes each."""
    file_bytes = models()["llama-3.1-8b"].variants["Q4_K_M"].file_bytes
    assert predicted_bytes(request()) == file_bytes + 32 * 8 * 128 * 2 * 2 * 8192


def test_prediction_counts_no_context_beyond_the_trained_one() -> None:
    far = predicted_bytes(request("phi-4", context_length=65536))
    assert far == predicted_bytes(request("phi-4", context_length=16384))


# --- from 0.30 on -------------------------------------------------------------------------------


def test_a_model_that_fits_one_gpu_goes_to_the_one_with_most_free_memory() -> None:
    assert indices(place(request(), rooms(10000, 20000, 15000), NEW)) == {1}


def test_a_prediction_over_80_percent_of_each_gpu_spreads_the_model() -> None:
    wanted = predicted_bytes(request("qwen3-32b", context_length=16384)) // MIB
    enough = int(wanted / 0.8) + 2
    ask = request("qwen3-32b", context_length=16384)
    assert len(visible(ask, rooms(enough, enough))) == 1
    assert len(visible(ask, rooms(enough - 4, enough - 4))) == 2


def test_main_gpu_pins_the_whole_model() -> None:
    assert indices(place(request(main_gpu=0), rooms(10000, 20000), NEW)) == {0}


def test_main_gpu_beyond_the_last_one_ends_the_process() -> None:
    with pytest.raises(LoadRefused, match=r"^llama-server process has terminated: exit status 1$"):
        place(request(main_gpu=2), rooms(10000, 20000), NEW)


def test_main_gpu_means_nothing_without_gpus() -> None:
    assert place(request(main_gpu=2), [], NEW).gpu_layers == 0


def test_layers_are_shared_in_proportion_to_free_memory() -> None:
    """Equal cards: 17 blocks, then 15 and the output."""
    assert proportional(rooms(24000, 24000), 33, 33) == {0: range(17), 1: range(17, 33)}
    assert proportional(rooms(24000, 8000), 33, 33) == {0: range(25), 1: range(25, 33)}


def test_few_layers_come_from_the_end() -> None:
    assert proportional(rooms(24000), 33, 1) == {0: range(32, 33)}


def test_fit_leaves_a_margin_of_one_gib() -> None:
    whole = place(request(), rooms(24000), NEW).by_gpu[0]
    margin = (1024 + 300) * MIB
    assert place(request(), rooms(whole // MIB + 1 + margin // MIB), NEW).gpu_layers == 33
    assert place(request(), rooms(whole // MIB - 1 + margin // MIB), NEW).gpu_layers < 33


def test_fit_keeps_the_last_layers_and_the_output_on_the_gpu() -> None:
    placed = place(request("qwen3-32b"), rooms(12000), NEW)
    assert 0 < placed.gpu_layers < placed.layers
    assert placed.by_gpu[0] <= (12000 - 300 - 1024) * MIB
    assert placed.size_bytes > placed.size_vram_bytes > 0


def test_without_fit_a_model_too_large_is_out_of_memory() -> None:
    with pytest.raises(LoadRefused, match=r"^llama-server reported out-of-memory during startup"):
        place(request("qwen3-32b"), rooms(12000), NEW, fit=False)


def test_experts_on_the_host_were_not_recorded() -> None:
    with pytest.raises(LoadRefused, match=r"^not recorded: .* experts on the host"):
        place(request("qwen3-30b-a3b"), rooms(12000), NEW)


def test_num_gpu_switches_the_margin_off() -> None:
    whole = place(request(), rooms(24000), NEW).by_gpu[0]
    tight = rooms(whole // MIB + 1 + 300)
    assert place(request(num_gpu=99), tight, NEW).gpu_layers == 33
    assert place(request(), tight, NEW).gpu_layers < 33


def test_num_gpu_beyond_the_memory_is_out_of_memory() -> None:
    whole = place(request(), rooms(24000), NEW).by_gpu[0]
    with pytest.raises(LoadRefused, match="out-of-memory") as caught:
        place(request(num_gpu=99), rooms(whole // MIB + 299), NEW)
    assert caught.value.status == 500


def test_a_gpu_without_any_room_is_out_of_memory() -> None:
    with pytest.raises(LoadRefused, match="out-of-memory"):
        place(request(num_gpu=99), rooms(0), NEW)


def test_num_gpu_counts_the_output_first() -> None:
    placed = place(request(num_gpu=20), rooms(24000), NEW)
    assert (placed.gpu_layers, placed.layers) == (20, 33)


def test_num_gpu_zero_takes_no_gpu() -> None:
    placed = place(request(num_gpu=0), rooms(24000), NEW)
    assert (placed.by_gpu, placed.size_vram_bytes) == ({}, 0)
    assert placed.size_bytes == placed.host_bytes


def test_sizes_of_a_full_offload_are_equal_and_hide_the_host() -> None:
    placed = place(request(), rooms(24000), NEW)
    assert placed.size_bytes == placed.size_vram_bytes == placed.by_gpu[0]
    assert placed.host_bytes > 0


def test_sizes_of_a_window_model_lack_the_cache_of_whole_context() -> None:
    ask = request("gemma-3-4b", context_length=32768)
    placed = place(ask, rooms(24000), NEW)
    full = sum(cache.size_bytes for cache in caches(ask) if cache.hidden)
    assert full == 5 * 32768 * 4 * 256 * 2 * 2
    assert placed.size_vram_bytes == placed.by_gpu[0] - full


def test_eviction_is_asked_for_above_80_percent_of_the_visible_gpus() -> None:
    wanted = predicted_bytes(request()) // MIB
    assert not must_evict(request(), rooms(int(wanted / 0.8) + 2))
    assert must_evict(request(), rooms(int(wanted / 0.8) - 2))


def test_eviction_is_never_asked_for_by_a_partial_or_cpu_load() -> None:
    assert not must_evict(request(num_gpu=20), rooms(100))
    assert not must_evict(request(num_gpu=0), rooms(100))
    assert not must_evict(request(), [])


def test_a_larger_batch_asks_for_eviction_earlier() -> None:
    free = int(predicted_bytes(request()) / MIB / 0.8) + 100
    assert not must_evict(request(), rooms(free))
    assert must_evict(request(batch=1024), rooms(free))


# --- up to 0.24 ---------------------------------------------------------------------------------


def test_old_rules_take_the_fewest_gpus_that_hold_all() -> None:
    assert indices(place(request(), rooms(9000, 20000), OLD)) == {1}
    both = place(request("qwen3-32b", context_length=16384), rooms(23000, 23000), OLD)
    assert indices(both) == {0, 1}
    assert both.gpu_layers == both.layers


def test_old_rules_know_no_80_percent() -> None:
    ask = request("qwen3-32b", context_length=8192)
    assert predicted_bytes(ask) > 0.8 * 23000 * MIB
    assert indices(place(ask, rooms(23000, 23000), OLD)) == {0}


def test_old_rules_balance_what_they_split() -> None:
    placed = place(request("qwen3-32b", context_length=16384), rooms(23000, 23000), OLD)
    assert placed.by_gpu[0] == pytest.approx(placed.by_gpu[1], rel=0.15)


def test_old_sizes_of_a_full_offload_include_the_host_and_the_whole_cache() -> None:
    placed = place(request("gemma-3-4b"), rooms(23000), OLD)
    assert placed.size_bytes == placed.size_vram_bytes == placed.by_gpu[0] + placed.host_bytes


def test_old_forced_layers_beyond_the_memory_have_their_own_text() -> None:
    with pytest.raises(LoadRefused, match=r"^memory layout cannot be allocated with num_gpu = 99$"):
        place(request(num_gpu=99), rooms(4000), OLD)
