"""What a model takes of a place, against figures that follow by hand from its shape."""

from dataclasses import replace

import pytest

from labdash.catalog.engines import Build
from labdash.catalog.gpus import find_gpu
from labdash.planner.memory.estimate import estimate
from labdash.planner.model import Model
from labdash.planner.placing.layers import most
from labdash.queries.fit_loads import Load, fit
from labdash.queries.fit_models import Chosen, choose_stock
from labdash.queries.fit_places import Card, Place, what_if_place
from labdash.queries.fit_table import make_table

GIB = 2**30
MIB = 2**20
RTX_3090 = find_gpu("NVIDIA GeForce RTX 3090")


def card(room_gib: float | None, *, unified: bool = False) -> Card:
    total = None if room_gib is None else int(24 * GIB)
    room = None if room_gib is None else int(room_gib * GIB)
    return Card(
        label="GPU 0",
        name="RTX 3090",
        total_bytes=total,
        room_bytes=room,
        held=(),
        doubt="",
        facts=RTX_3090,
        unified=unified,
    )


def place(*rooms: float | None, ram_gib: float | None = 40) -> Place:
    ram = None if ram_gib is None else int(ram_gib * GIB)
    cards = tuple(card(room) for room in rooms)
    return Place(
        key="rog/0", node="rog", label="GPU 0", cards=cards, ram_bytes=ram, build=Build(10488)
    )


@pytest.fixture(scope="module")
def qwen() -> Model:
    return choose_stock("Qwen3-8B", "Q4_K_M")


def test_what_reads_images_is_counted_on_the_first_gpu_and_in_ram_without_one(qwen: Model) -> None:
    """Half a GiB for an image of which nobody knows more."""
    load = Load(context=8192)
    seeing, more = load.seeing(qwen, GIB), GIB + 512 * MIB
    for where in (place(23), place(8, 8), place(ram_gib=40)):
        blind, found = fit(qwen, where, load), fit(qwen, where, seeing)
        sizes = [
            [each.total_bytes for each in one.used] or [one.host_bytes] for one in (blind, found)
        ]
        assert sizes[1] == [sizes[0][0] + more, *sizes[0][1:]]
    assert load.seeing(qwen, 0) == load


def test_what_reads_images_stays_in_ram_beside_a_gpu_without_room_for_it(qwen: Model) -> None:
    found = fit(qwen, place(1), Load(context=8192).seeing(qwen, 2 * GIB))
    assert found.verdict == "part"
    assert found.estimate.host.images_bytes == 2 * GIB + 512 * MIB
    assert all(each.total_bytes <= GIB for each in found.used)


def test_cache_is_two_rows_of_each_layer_a_token(qwen: Model) -> None:
    # 36 layers, 8 KV heads of 128, K and V, two bytes: 147,456 bytes a token.
    found = fit(qwen, place(23), Load(context=8192))
    assert found.used[0].kv_bytes == 8192 * 36 * 8 * 128 * 2 * 2
    assert (found.verdict, found.layers, found.all_layers) == ("whole", 37, 37)


def test_slots_multiply_the_cache(qwen: Model) -> None:
    one = fit(qwen, place(23), Load(context=8192)).used[0].kv_bytes
    four = fit(qwen, place(23), Load(context=8192, slots=4)).used[0].kv_bytes
    assert four == 4 * one


@pytest.mark.parametrize("room_gib", [5.5, 6.2, 7.0, 8.0])
def test_longest_context_fits_and_the_next_step_does_not(qwen: Model, room_gib: float) -> None:
    where = place(room_gib)
    longest = fit(qwen, where, Load()).most_context
    assert longest is not None
    assert estimate(qwen, Load(context=longest).on(where)).fits
    assert not estimate(qwen, Load(context=longest + 256).on(where)).fits


def test_longest_context_ends_at_the_trained_one(qwen: Model) -> None:
    assert fit(qwen, place(23), Load()).most_context == 40_960


@pytest.mark.parametrize("room_gib", [2.0, 3.1, 4.0, 5.0])
def test_layers_fit_and_one_more_does_not(qwen: Model, room_gib: float) -> None:
    where, load = place(room_gib), Load(context=8192)
    found = fit(qwen, where, load)
    more = replace(load.on(where), gpu_layers=found.layers + 1)
    assert found.verdict == "part"
    assert found.used[0].total_bytes <= room_gib * GIB
    assert not estimate(qwen, more).fits


def test_what_ram_lacks_too_is_short(qwen: Model) -> None:
    where, load = place(2, ram_gib=2), Load(context=8192)
    found = fit(qwen, where, load)
    whole = estimate(qwen, load.on(where))
    wanted = whole.devices[0].total_bytes + whole.host.total_bytes
    assert (found.verdict, found.short_bytes) == ("no", wanted - 4 * GIB)


def test_unknown_room_is_neither_fitting_nor_full(qwen: Model) -> None:
    found = fit(qwen, place(None), Load())
    assert (found.verdict, found.most_context) == ("unknown", None)


def test_unknown_ram_refuses_nothing(qwen: Model) -> None:
    assert fit(qwen, place(2, ram_gib=None), Load()).verdict == "part"


def test_unknown_bandwidth_tells_no_speed(qwen: Model) -> None:
    where = place(23)
    unknown = replace(where, cards=(replace(where.cards[0], facts=None),))
    assert fit(qwen, unknown, Load()).speed is None
    assert fit(qwen, where, Load()).speed is not None


def test_speed_lies_below_what_the_bandwidth_allows(qwen: Model) -> None:
    speed = fit(qwen, place(23), Load(context=4096)).speed
    assert speed is not None
    assert RTX_3090 is not None
    assert speed.low < speed.high < RTX_3090.bandwidth_gbs * 1e9 / qwen.weight_bytes * 1.1


def test_machine_without_a_gpu_needs_all_in_its_ram(qwen: Model) -> None:
    found = fit(qwen, place(ram_gib=16), Load())
    assert (found.verdict, found.layers, found.used) == ("whole", 0, ())
    assert found.host_bytes > qwen.weight_bytes
    assert fit(qwen, place(ram_gib=4), Load()).verdict == "no"
    assert fit(qwen, place(ram_gib=None), Load()).verdict == "unknown"


@pytest.mark.parametrize("answer", [0, 1, 5, 9])
def test_bisection_finds_the_last_that_fits(answer: int) -> None:
    assert most(lambda number: number <= answer, 9) == answer


@pytest.mark.parametrize("name", ["Qwen3-32B", "gemma-3"])
def test_table_agrees_with_what_each_cell_gives_alone(name: str) -> None:
    model = choose_stock("Gemma-3-12B-it" if name == "gemma-3" else name, "Q4_K_M")
    chosen = Chosen(model=model, basis="", own_quant=None)
    where, load = place(12), Load(context=8192)
    table = make_table(chosen, where, load, fit(model, where, load))
    for row in table.rows[::3]:
        for cell in row.cells[::2]:
            alone = fit(chosen.at(row.quant), where, replace(load, context=cell.context))
            assert cell.verdict == alone.verdict, (row.quant, cell.context)
            assert cell.verdict != "part" or abs(cell.layers - alone.layers) <= 1


def test_card_of_the_catalog_is_empty_but_for_its_driver_and_the_engines_margin() -> None:
    assert RTX_3090 is not None
    where = what_if_place(RTX_3090, 24)
    assert where.cards[0].room_bytes == 24 * GIB - 452 * MIB - GIB
    assert [part.kind for part in where.cards[0].held] == ["reserve", "margin"]
    assert where.ram_bytes is None
