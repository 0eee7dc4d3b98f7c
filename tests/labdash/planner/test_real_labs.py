"""What the owners of six real labs measured, and what follows from the shapes of their models.

Each fact is one that the head of its file (tests/fixtures/labs) marks measured or exact, or the
likes of it; what is only inferred there stands in tests whose names say ``likely``.
"""

import pytest

from labdash.planner.placement import choices
from labdash.planner.placing.outcome import Trial, pace
from labdash.planner.placing.seats import seats_of
from labdash.planner.placing.spreading import divided, would_spread
from labdash.planner.what_if import with_ctx
from tests.planning.real_labs import cache_bytes, chosen, real_lab, real_plan, wanted

GIB, MIB, KIB = 1 << 30, 1 << 20, 1 << 10
GB = 1e9
ALL = ("01", "02", "03", "04", "05", "06")


@pytest.mark.parametrize("number", ALL)
def test_a_plan_is_proved_and_no_memory_is_exceeded(number: str) -> None:
    plan = real_plan(number)
    assert (plan.status, plan.limited_by) == ("optimal", None)
    for device in plan.devices:
        if device.total_bytes is not None:
            assert device.reserved_bytes + device.planned_bytes <= device.total_bytes


@pytest.mark.parametrize("number", ALL)
def test_context_and_batch_are_always_set(number: str) -> None:
    for placement in real_plan(number).placements:
        choice, least = placement.choice, placement.deployment.ctx_floor
        assert choice.ctx >= least
        assert choice.num_batch == (min(2048, choice.ctx) if choice.variant.embedding else 512)


# --- 01: a card of 24 GB and one of 8 GB ---------------------------------------------------------


def test_01_the_free_memory_is_what_the_log_says() -> None:
    card = real_lab("01").nodes[0].cards[0]
    assert card.room_bytes == pytest.approx(23_336 * MIB, abs=16 * MIB)


def test_01_the_model_is_pinned_to_the_large_card() -> None:
    choice = chosen("01", "gemma4:31b")
    assert (choice.form, choice.main_gpu, choice.gpu_devices) == ("gpu", 0, ("desk/0",))
    assert choice.cpu_layers == 0
    assert (choice.tokens_per_s or 0) == pytest.approx(30, rel=0.25)


def test_01_ollama_takes_the_model_for_as_much_as_its_log_implies() -> None:
    predicted = chosen("01", "gemma4:31b").predicted_bytes
    assert predicted == pytest.approx(21_590 * MIB, rel=0.02)


def test_01_a_split_is_predicted_slower_by_as_much_as_was_measured() -> None:
    deployment = wanted("01", "gemma4:31b")
    seat = next(seat for seat in seats_of(real_lab("01")) if seat.joined)
    trial = Trial(deployment.variants[0], 16384, seat)
    assert would_spread(trial)
    split = pace(trial.variant, divided(trial).settings, seat)
    alone = chosen("01", "gemma4:31b").tokens_per_s
    assert split
    assert alone
    assert split / alone == pytest.approx(20 / 30, rel=0.1)


# --- 02: a 3090 beside speech-to-text ------------------------------------------------------------


def test_02_the_cache_is_exact() -> None:
    model = wanted("02", "devstral-small-2:24b")
    assert cache_bytes(model, 1024) == 1024 * 160 * KIB
    assert cache_bytes(model, 40_960) == int(6.25 * GIB)
    assert cache_bytes(model, 8192) == int(1.25 * GIB)


def test_02_the_peak_of_the_other_service_is_left_free() -> None:
    choice = chosen("02", "devstral-small-2:24b")
    assert choice.bytes["box/0"] + 7.7 * GB <= 24 * GIB


def test_02_the_context_gives_way_before_quant_and_gpu() -> None:
    choice = chosen("02", "devstral-small-2:24b")
    assert (choice.ctx, choice.variant.quant, choice.cpu_layers) == (8192, "Q4_K_M", 0)
    deployment = wanted("02", "devstral-small-2:24b")
    assert {each.ctx for each in choices(real_lab("02"), deployment)} == {8192}


def test_02_a_smaller_cache_is_likely_proposed_and_not_taken() -> None:
    (proposal,) = real_plan("02").proposals
    assert "OLLAMA_KV_CACHE_TYPE=q8_0" in proposal.lines
    assert chosen("02", "devstral-small-2:24b").kv_type == "f16"


def test_02_how_tight_it_is_is_likely_said() -> None:
    (placement,) = real_plan("02").placements
    assert any("stay free on box/0" in reason for reason in placement.reasons)


# --- 03: two cards of 32 GB ----------------------------------------------------------------------


def test_03_caches_count_only_the_blocks_that_have_one() -> None:
    dense, sparse = wanted("03", "qwen3.8:27b"), wanted("03", "qwen3.6:35b")
    growth = cache_bytes(dense, 196_608) - cache_bytes(dense, 131_072)
    assert growth == 65_536 * 64 * KIB
    assert cache_bytes(dense, 196_608) == pytest.approx(12.0 * GIB, rel=0.02)
    growth = cache_bytes(sparse, 262_144) - cache_bytes(sparse, 131_072)
    assert growth == 131_072 * 20 * KIB
    assert cache_bytes(sparse, 262_144) == pytest.approx(5.0 * GIB, rel=0.03)


def test_03_one_card_holds_what_its_owner_saw_it_hold() -> None:
    found = choices(real_lab("03"), wanted("03", "qwen3.8:27b"))
    alone = next(each for each in found if (each.form, each.ctx) == ("gpu", 196_608))
    assert sum(alone.bytes[each] for each in alone.gpu_devices) == pytest.approx(
        28.8 * GIB, rel=0.03
    )


def test_03_a_cache_of_16_gib_does_not_fit_beside_the_weights() -> None:
    lab = with_ctx(real_lab("03"), "qwen3.8:27b", floor=262_144, wish=262_144)
    found = choices(lab, lab.deployments[0])
    assert [each.form for each in found if each.form == "gpu"] == []


def test_03_the_projector_is_part_of_the_bill() -> None:
    for name in ("qwen3.8:27b", "qwen3.6:35b"):
        (variant,) = wanted("03", name).variants
        assert variant.projector_bytes == pytest.approx(0.86 * GIB, rel=0.06)


def test_03_no_card_holds_both_chat_models_whole() -> None:
    wholes = [
        chosen("03", name).gpu_devices
        for name in ("qwen3.8:27b", "qwen3.6:35b")
        if len(chosen("03", name).gpu_devices) == 1
    ]
    assert len(set(wholes)) == len(wholes)
    assert real_plan("03").refusals == ()


def test_03_one_server_for_each_card_is_proposed_as_its_owner_has_it() -> None:
    (proposal,) = real_plan("03").proposals
    assert proposal.kind == "second instance"
    assert [each for each in proposal.lines if "VISIBLE" in each or each.startswith("#")] == [
        "# box:11434, as it is, for box/0",
        "GGML_VK_VISIBLE_DEVICES=0",
        "# box:11435, a further Ollama, for box/1",
        "GGML_VK_VISIBLE_DEVICES=1",
    ]
    (gain,) = proposal.gains
    assert gain.startswith("qwen3.8:27b: context 192k instead of 128k")


def test_03_why_no_model_has_a_card_of_its_own_is_told_by_what_binds() -> None:
    divided = [each for each in real_plan("03").placements if len(each.choice.gpu_devices) > 1]
    assert len(divided) == 2
    for placement in divided:
        assert any("would unload another model" in reason for reason in placement.reasons)
        assert not any("large enough" in reason for reason in placement.reasons)


def test_03_a_margin_that_a_later_load_takes_a_part_of_is_told_so() -> None:
    reasons = next(
        each.reasons for each in real_plan("03").placements if each.deployment.name == "qwen3.6:35b"
    )
    (told,) = [each for each in reasons if "free on box/1" in each]
    assert told == "1.7 GiB stay free on box/1 in the end, of the 1.8 GiB kept free when it loads."
    assert [each[:36] for each in reasons if "a guess" in each] == [
        "What others use of box/0 and box/1 i"
    ]


# --- 04: two Macs --------------------------------------------------------------------------------


def test_04_the_cache_and_the_file_are_exact() -> None:
    coder = wanted("04", "qwen3-coder:30b")
    assert cache_bytes(coder, 1024) == 1024 * 96 * KIB
    assert cache_bytes(coder, 8192) == int(0.75 * GIB)
    assert cache_bytes(coder, 32_768) == 3 * GIB
    assert coder.variants[0].file_bytes == pytest.approx(17.28 * GIB, rel=0.001)


def test_04_memory_of_a_mac_is_one_pool() -> None:
    for node in real_lab("04").nodes:
        held = sum(
            sum(each.choice.bytes.values())
            for each in real_plan("04").placements
            if each.choice.node == node.name
        )
        assert node.unified
        assert held <= (node.ram_room_bytes or 0)


def test_04_the_large_quant_is_likely_too_large_and_a_smaller_one_fits() -> None:
    choice = chosen("04", "qwen3-coder:30b")
    assert (choice.node, choice.variant.quant[:2]) == ("mac", "Q3")
    assert choice.tokens_per_s == pytest.approx(27.5, rel=0.25)


def test_04_the_small_model_is_on_the_machine_that_is_always_on() -> None:
    assert chosen("04", "qwen3:8b").node == "mini"


# --- 05: no GPU ----------------------------------------------------------------------------------


def test_05_the_cache_is_exact() -> None:
    phi = wanted("05", "phi3.5:3.8b")
    assert cache_bytes(phi, 8192) == 3 * GIB
    assert cache_bytes(phi, 32_768) == 12 * GIB
    assert phi.variants[0].file_bytes == pytest.approx(2.2 * GIB, rel=0.02)


def test_05_a_long_context_does_not_fit_and_a_shorter_one_does() -> None:
    contexts = {each.ctx for each in choices(real_lab("05"), wanted("05", "phi3.5:3.8b"))}
    assert 8192 in contexts
    assert 32_768 not in contexts


def test_05_all_layers_are_on_the_host_at_the_speed_that_was_measured() -> None:
    phi, gemma = chosen("05", "phi3.5:3.8b"), chosen("05", "gemma3:4b")
    assert (phi.form, phi.num_gpu, phi.node) == ("cpu", 0, "mini")
    assert 3 <= (phi.tokens_per_s or 0) <= 6
    assert gemma.tokens_per_s == pytest.approx(5.5, rel=0.1)


def test_05_a_speed_that_no_machine_reaches_is_refused_for_that() -> None:
    (refusal,) = real_plan("05").refusals
    assert (refusal.deployment.name, refusal.limit) == ("llama3.1:8b", "speed")


# --- 06: 8 GB ------------------------------------------------------------------------------------


def test_06_a_load_of_5_5_gb_fits_and_one_of_8_1_gb_does_not() -> None:
    (card,) = real_lab("06").nodes[0].cards
    assert 5.5 * GB + GIB <= card.room_bytes < 8.1 * GB


def test_06_the_vision_model_is_wholly_on_the_card() -> None:
    choice = chosen("06", "gemma3:4b")
    assert (choice.form, choice.cpu_layers) == ("gpu", 0)
    assert choice.ctx >= 8192


def test_06_a_second_server_is_proposed_where_only_ollamas_prediction_binds() -> None:
    (proposal,) = real_plan("06").proposals
    assert (proposal.kind, proposal.instance) == ("second instance", "desk:11435")
    (gain,) = proposal.gains
    assert gain.startswith("gemma3:4b: context 48k instead of 8k")


def test_06_a_small_model_is_as_large_as_was_measured() -> None:
    found = choices(real_lab("06"), wanted("06", "llama3.2:3b"))
    small = next(each for each in found if each.ctx == 4096)
    # Ollama's figure leaves out what the process itself takes.
    assert small.bytes["desk/0"] == pytest.approx(2.34 * GB, rel=0.2)


def test_06_an_embedding_model_likely_stays_beside_it() -> None:
    assert chosen("06", "nomic-embed-text").gpu_devices == ("desk/0",)
