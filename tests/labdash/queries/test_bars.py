"""What fills memory."""

import pytest

from labdash.models import Gpu, Node
from labdash.queries.bars import (
    Bar,
    GpuView,
    Memory,
    loaded_models,
    sum_memory,
    view_gpus,
    view_ram,
)
from labdash.queries.lab import NodeView
from labdash.queries.library import Library
from tests.labdash.views.sample_lab import GIB, MIB, gpu, loaded, process, reading, sample
from workers import wire

NOTHING_KNOWN = Library(families={}, quants={})
ONE_KNOWN = Library(families={"qwen3:8b": 4}, quants={("rog", "qwen3:8b"): "Q4_K_M"})


def node_view(report: wire.Sample | None, node: Node | None = None) -> NodeView:
    return NodeView(node=node or Node(slug="rog"), liveness="live", age_s=1.0, sample=report)


def gpus(report: wire.Sample) -> tuple[GpuView, ...]:
    view = node_view(report)
    return view_gpus(view, loaded_models(view, NOTHING_KNOWN))


def bars(report: wire.Sample) -> list[Bar]:
    return [each.bar for each in gpus(report)]


def unmeasured(uuid: str = "a", index: int = 0) -> wire.GpuReading:
    """Make a GPU of 24 GiB whose use no driver tells."""
    return gpu(uuid, index, "P40", 24, memory_used_bytes=None, memory_reserved_bytes=None)


def told(bar: Bar) -> list[tuple[str, str, float]]:
    return [(each.kind, each.label, round(each.size_bytes / GIB, 2)) for each in bar.segments]


def test_processes_tell_models_and_others_apart() -> None:
    card = gpu(
        "a", 0, "RTX 3090", 24,
        processes=(
            process(1, "llama-server", 5, "qwen3:8b"),
            process(2, "llama-server", 2, "qwen3:8b"),
            process(3, "Xorg", 0.5),
        ),
    )  # fmt: skip
    report = sample("rog", [card], [reading(loaded("qwen3:8b", 7, 7))])
    assert told(bars(report)[0]) == [
        ("model", "qwen3:8b", 7.0),
        ("other", "Xorg", 0.5),
        ("reserve", "driver", 0.35),
        ("free", "free", 16.15),
    ]


def test_what_no_process_accounts_for_is_other() -> None:
    card = gpu(
        "a", 0, "RTX 3090", 24, processes=(process(1, "Xorg", 1),), memory_used_bytes=3 * GIB
    )
    assert ("other", "other", 2.0) in told(bars(sample("rog", [card]))[0])


def test_noise_of_rounding_is_not_shown() -> None:
    card = gpu(
        "a", 0, "RTX 3090", 24, processes=(process(1, "Xorg", 1),),
        memory_used_bytes=GIB + 20 * MIB,
    )  # fmt: skip
    assert [each[1] for each in told(bars(sample("rog", [card]))[0])] == ["Xorg", "driver", "free"]


def test_runner_of_a_model_that_is_no_longer_loaded_is_named_among_others() -> None:
    card = gpu("a", 0, "RTX 3090", 24, processes=(process(1, "llama-server", 5, "qwen3:8b"),))
    assert told(bars(sample("rog", [card], [reading()]))[0])[0] == ("other", "qwen3:8b", 5.0)


def test_single_gpu_without_processes_takes_ollamas_word() -> None:
    card = gpu("a", 0, "RTX 3090", 24, memory_used_bytes=8 * GIB)
    report = sample("rog", [card], [reading(loaded("qwen3:8b", 7, 7))])
    assert told(bars(report)[0])[:2] == [("model", "qwen3:8b", 7.0), ("other", "other", 1.0)]


def test_ollamas_word_gives_way_where_the_driver_counts_less() -> None:
    card = gpu("a", 0, "RTX 3090", 24, memory_used_bytes=6 * GIB)
    report = sample("rog", [card], [reading(loaded("qwen3:8b", 7, 7))])
    assert told(bars(report)[0])[0] == ("other", "other", 6.0)


@pytest.mark.parametrize(("card", "low"), [(unmeasured(), ("gemma3:4b",)), (None, ())])
def test_size_that_ollama_reports_too_low_is_said_to_be_so_where_it_is_shown(
    card: wire.GpuReading | None, low: tuple[str, ...]
) -> None:
    held = process(1, "llama-server", 5, "gemma3:4b")
    measured = gpu("a", 0, "RTX 3090", 24, processes=(held,))
    model = loaded("gemma3:4b", 4, 4).model_copy(update={"leaves_out_context": True})
    (view,) = gpus(sample("rog", [card or measured], [reading(model)]))
    assert view.low == low


def test_several_gpus_without_processes_tell_no_models() -> None:
    cards = [gpu(name, i, "RTX 3090", 24, memory_used_bytes=4 * GIB) for i, name in enumerate("ab")]
    report = sample("rog", cards, [reading(loaded("qwen3:8b", 7, 7))])
    assert [told(bar)[0] for bar in bars(report)] == [("other", "other", 4.0)] * 2


def test_declared_gpu_holds_what_ollama_tells() -> None:
    (seen,) = gpus(sample("rog", [unmeasured()], [reading(loaded("qwen3:8b", 7, 7))]))
    assert (seen.basis, seen.bar.used_bytes, seen.untold) == ("ollama", 7 * GIB, "")


@pytest.mark.parametrize(
    ("cards", "readings", "why"),
    [
        (1, [], "no Ollama server is known here"),
        (1, [reading(state="refused", loaded=None)], "while Ollama does not answer"),
        (1, [reading(state="unreachable", loaded=None)], "while Ollama does not answer"),
        (1, [reading(state="timeout", loaded=None)], "while Ollama does not answer"),
        (1, [reading(state="error", loaded=None)], "while Ollama does not answer"),
        (1, [reading(loaded=None)], "Ollama does not tell what is loaded"),
        (1, [reading(), reading(name="b", state="refused")], "while Ollama does not answer"),
        (1, [reading(), reading(name="b", loaded=None)], "Ollama does not tell what is loaded"),
        (2, [reading(loaded("qwen3:8b", 7, 7))], "Nobody tells which of these GPUs holds what."),
    ],
)
def test_use_that_nobody_tells_is_unknown_and_says_why(
    cards: int, readings: list[wire.InstanceReading], why: str
) -> None:
    report = sample("rog", [unmeasured(str(index), index) for index in range(cards)], readings)
    for seen in gpus(report):
        assert (seen.basis, seen.bar.used_bytes, seen.bar.segments) == ("unknown", None, ())
        assert why in seen.untold


def test_sum_leaves_out_what_is_unknown_and_counts_it() -> None:
    lost = gpu("b", 1, "P40", 24, state="lost", memory_used_bytes=GIB)
    measured = gpu("a", 0, "P40", 24, memory_used_bytes=4 * GIB)
    sizeless = gpu("c", 2, "P40", 24, memory_total_bytes=None, memory_used_bytes=GIB)
    seen = gpus(sample("rog", [measured, lost, sizeless, unmeasured("d", 3)], [reading()]))
    assert sum_memory(seen) == Memory(used_bytes=4 * GIB, total_bytes=24 * GIB, untold=3)
    assert sum_memory(seen[3:]) == Memory(used_bytes=None, total_bytes=24 * GIB, untold=1)
    assert sum_memory(()) == Memory(used_bytes=None, total_bytes=0, untold=0)


@pytest.mark.parametrize("state", ["lost", "error"])
def test_gpu_that_cannot_be_read_shows_no_bar_and_no_use(state: str) -> None:
    report = sample("rog", [gpu("a", 0, "P40", 24, state=state)], [reading()])
    (seen,) = gpus(report)
    assert (seen.bar.segments, seen.bar.used_bytes, seen.basis) == ((), None, "unknown")
    assert seen.untold == "The driver no longer reports this card."


def test_card_without_a_size_has_no_free_part() -> None:
    card = gpu(
        "a", 0, "P40", 24, memory_total_bytes=None, memory_reserved_bytes=None,
        memory_used_bytes=GIB,
    )  # fmt: skip
    assert told(bars(sample("rog", [card]))[0]) == [("other", "other", 1.0)]


def test_label_counts_gpus_only_where_there_are_several() -> None:
    assert [bar.label for bar in bars(sample("rog", [gpu("a", 0, "P40", 24)]))] == ["GPU"]
    pair = [gpu("a", 0, "P40", 24), gpu("b", 1, "P40", 24)]
    assert [bar.label for bar in bars(sample("rog", pair))] == ["GPU 0", "GPU 1"]


@pytest.mark.django_db
def test_node_without_a_sample_shows_the_gpus_that_were_declared() -> None:
    node = Node.objects.create(slug="attic", agentless=True)
    Gpu.objects.create(node=node, name="Tesla P40", memory_total_bytes=24 * GIB)
    seen = view_gpus(node_view(None, node), ())
    assert [(each.basis, each.bar.total_bytes, each.bar.used_bytes) for each in seen] == [
        ("unknown", 24 * GIB, None)
    ]


def test_ram_holds_the_parts_of_models_outside_the_gpus() -> None:
    view = node_view(sample("rog", [], [reading(loaded("qwen3:8b", 8, 2))], ram_gib=(10, 16)))
    ram = view_ram(view, loaded_models(view, ONE_KNOWN))
    assert ram
    assert told(ram) == [
        ("model", "qwen3:8b", 6.0),
        ("other", "other", 4.0),
        ("free", "free", 6.0),
    ]
    assert (ram.segments[0].quant, ram.segments[0].context_length) == ("Q4_K_M", 8192)


def test_ram_counts_mapped_weights_that_the_system_does_not_call_used() -> None:
    view = node_view(sample("rog", [], [reading(loaded("qwen3:8b", 8, 0))], ram_gib=(3, 16)))
    ram = view_ram(view, loaded_models(view, NOTHING_KNOWN))
    assert ram
    assert ram.used_bytes == 8 * GIB


def test_ram_that_is_not_reported_has_no_bar() -> None:
    assert view_ram(node_view(sample("rog", ram_gib=None)), ()) is None
    assert view_ram(node_view(None), ()) is None


@pytest.mark.parametrize(
    ("size_gib", "vram_gib", "share", "split"),
    [(8, 8, 0.0, False), (8, 2, 0.75, True), (8, 0, 1.0, True), (0, 0, 0.0, False)],
)
def test_share_of_the_cpu(*, size_gib: float, vram_gib: float, share: float, split: bool) -> None:
    view = node_view(sample("rog", [], [reading(loaded("m", size_gib, vram_gib))]))
    each = loaded_models(view, NOTHING_KNOWN)[0]
    assert (each.cpu_share, each.is_split) == (share, split)


def test_a_model_whose_share_of_the_gpus_nobody_tells_is_not_said_to_be_split() -> None:
    model = loaded("m", 8, 0).model_copy(update={"size_vram_bytes": None})
    view = node_view(sample("rog", [], [reading(model)]))
    each = loaded_models(view, NOTHING_KNOWN)[0]
    assert (each.cpu_share, each.is_split) == (None, False)


def test_colour_comes_from_the_family_where_it_is_known_and_is_stable_elsewhere() -> None:
    assert ONE_KNOWN.colour("qwen3:8b:latest") == ONE_KNOWN.colour("qwen3:8b") == 5
    strange = NOTHING_KNOWN.colour("strange:1b")
    assert strange == NOTHING_KNOWN.colour("strange:1b:latest")
    assert 1 <= strange <= 6


def test_loaded_models_keep_one_order_whatever_the_server_says() -> None:
    one, other = loaded("gemma3:4b", 3, 3), loaded("qwen3:8b", 6, 6)
    names = []
    for told in ((one, other), (other, one)):
        view = node_view(sample("rog", [], instances=[reading(*told)]))
        names.append([each.name for each in loaded_models(view, NOTHING_KNOWN)])
    assert names == [["gemma3:4b", "qwen3:8b"]] * 2
