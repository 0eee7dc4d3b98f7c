"""The demo lab: everything that it offers can be loaded, or is refused for a real reason."""

import time
from itertools import product

import pytest

from tests.workers.simlab.loads import request
from workers.simlab.catalog import models, offers
from workers.simlab.loads import LoadRefused, LoadRequest
from workers.simlab.machine import Machine
from workers.simlab.scenario import DEMO, MachinePlan

every_plan = pytest.mark.parametrize("plan", DEMO, ids=[plan.slug for plan in DEMO])
EVERY_OFFER = sorted({(offer.model, offer.quant) for offer in offers()})


def card_sets(plan: MachinePlan) -> list[dict[str, int]]:
    """As the engine likes, all on the CPU, and pinned to each card."""
    pins = range(len(plan.cards)) if plan.version.startswith("0.3") else ()
    return [{}, {"num_gpu": 0}, *({"main_gpu": index} for index in pins)]


def asked(plan: MachinePlan, offer: tuple[str, str], context: int) -> list[LoadRequest]:
    model, quant = offer
    tokens = min(context, models()[model].context_length)
    return [request(model, quant=quant, context_length=tokens, **set_) for set_ in card_sets(plan)]


@every_plan
def test_every_offer_at_every_context_loads_or_is_refused_for_a_real_reason(
    plan: MachinePlan,
) -> None:
    for offer, context in product(EVERY_OFFER, plan.contexts):
        for load in asked(plan, offer, context):
            assert "not recorded" not in outcome(plan, load), (context, load)


def outcome(plan: MachinePlan, load: LoadRequest) -> str:
    """Load on the empty machine, and say how that went."""
    try:
        loaded = plan.build(time.monotonic).load(load)
    except LoadRefused as refusal:
        return refusal.text
    return f"{loaded.gpu_layers} of {loaded.layers} layers"


@every_plan
def test_every_machine_loads_most_of_the_small_models_whole(plan: MachinePlan) -> None:
    small = [offer for offer in EVERY_OFFER if models()[offer[0]].parameter_count < 5e9]
    for offer in small:
        loaded = plan.build(time.monotonic).load(asked(plan, offer, plan.contexts[0])[0])
        assert loaded.gpu_layers == (loaded.layers if plan.cards else 0)


@every_plan
def test_what_is_loaded_at_start_fits_side_by_side(plan: MachinePlan) -> None:
    machine = plan.build(time.monotonic)
    by_name = {offer.name: offer for offer in offers()}
    for load in plan.loads:
        offer, options = by_name[load.model], dict(load.options)
        ask = request(
            offer.model,
            quant=offer.quant,
            name=load.model,
            context_length=options.pop("num_ctx"),
            batch=options.pop("num_batch"),
            **options,
        )
        assert not machine.gpus or not must_evict_others(machine, ask)
        machine.load(ask)
    assert all(gpu.free_bytes > 0 for gpu in machine.gpus)


def must_evict_others(machine: Machine, ask: LoadRequest) -> bool:
    others = any(gpu.held for gpu in machine.gpus)
    return others and machine.must_evict(ask)


@every_plan
def test_the_registry_offers_what_is_installed_and_loaded(plan: MachinePlan) -> None:
    names = {offer.name for offer in offers()}
    assert set(plan.installed) <= names
    assert {load.model for load in plan.loads} <= set(plan.installed)


def test_every_offer_names_a_file_of_the_catalog() -> None:
    for offer in offers():
        assert offer.quant in models()[offer.model].variants
    assert len({offer.name for offer in offers()}) == len(offers())


def test_names_without_a_size_stand_for_the_file_of_one_with_it() -> None:
    files = {offer.name: (offer.model, offer.quant) for offer in offers()}
    assert files["qwen3:latest"] == files["qwen3:8b"]
    assert files["gpt-oss:latest"] == files["gpt-oss:20b"]
