from dataclasses import replace

import pytest

from labdash.planner.greedy import quick
from labdash.planner.lab import Card, Deployment, Lab, Node
from labdash.planner.loading import Pick
from labdash.planner.placement import choices
from labdash.planner.plan import Choice, Plan
from labdash.planner.telling.reasons import with_reasons
from tests.planning.choices import packed, placed, plan_of, settled_plan
from tests.planning.labs import GIB, card, gpu_node, mac, want

SMALL = want("small", "llama3.2:3b", ("Q8_0", "Q4_K_M"), (4096, 8192))


def node(name: str, *sizes_gib: float, **changes: object) -> Node:
    """Make a node with cards of these sizes, the first of which are faster."""
    cards = tuple(
        card(
            index,
            4,
            total_bytes=int(size * GIB),
            used_bytes=0,
            bandwidth_gbs=900.0 - 100 * index,
            **changes,
        )
        for index, size in enumerate(sizes_gib)
    )
    made = gpu_node(name, *([4] * len(sizes_gib)))
    return replace(made, cards=cards)


def lab(*nodes: Node, wanted: tuple[Deployment, ...] = (SMALL,)) -> Lab:
    return Lab(nodes=nodes, deployments=wanted)


def told(here: Lab, plan: Plan | None = None, *, name: str = "small") -> list[str]:
    plan = with_reasons(here, plan or packed(here))
    return [r for each in plan.placements if each.deployment.name == name for r in each.reasons]


def one(reasons: list[str], start: str) -> str:
    (found,) = [each for each in reasons if each.startswith(start)]
    return found


def pick(here: Lab, device: str, ctx: int, quant: str, wanted: Deployment = SMALL) -> Choice:
    return next(
        each
        for each in choices(here, wanted)
        if each.gpu_devices == (device,) and each.ctx == ctx and each.variant.quant == quant
    )


def planned(here: Lab, *chosen: tuple[Deployment, Choice]) -> Plan:
    picks: dict[str, list[Pick]] = {each.name: [] for each in here.nodes}
    for wanted, choice in chosen:
        picks[choice.node].append(Pick(deployment=wanted, replica=0, choice=choice))
    return settled_plan(here, picks)


def test_the_only_place_says_so() -> None:
    assert told(lab(node("rog", 8)))[0] == "rog/0 is the only place that can serve it as asked for."


def test_the_fastest_place_says_its_speed() -> None:
    slow = replace(
        node("tower", 8), cards=(replace(node("tower", 8).cards[0], bandwidth_gbs=300.0),)
    )
    assert told(lab(slow, node("rog", 8)))[0].startswith(
        "The fastest place with room for it: about"
    )


def test_a_faster_place_that_is_full_is_named_with_what_it_lacks() -> None:
    other = replace(SMALL, name="other")
    here = lab(node("rog", 6, 6), wanted=(SMALL, other))
    first, second = pick(here, "rog/0", 8192, "Q8_0", other), pick(here, "rog/1", 8192, "Q8_0")
    plan = planned(here, (other, first))
    plan = replace(plan, placements=(*plan.placements, placed(SMALL, second, order=2)))
    reason = one(told(here, plan), "It answers with")
    assert "; rog/0 would give about" in reason
    assert ", but rog/0 lacks " in reason
    assert reason.endswith("GiB for it beside other.")


def test_a_pinned_one_says_so() -> None:
    wanted = replace(SMALL, pin="rog/1")
    reasons = told(lab(node("rog", 8, 8), wanted=(wanted,)))
    assert reasons[0] == "It is pinned to rog/1."
    assert one(reasons, "Pinned to") == (
        "Pinned to rog/1 with main_gpu 1: left alone Ollama would take rog/0, which has more free"
        " memory then."
    )


def test_what_shares_a_runner_says_whose() -> None:
    here = lab(node("rog", 8))
    choice = pick(here, "rog/0", 8192, "Q8_0")
    shared = replace(placed(replace(SMALL, name="second"), choice), shares="small")
    plan = plan_of(placed(SMALL, choice), shared)
    assert told(here, plan, name="second")[0].startswith("It shares the runner of small,")


def test_a_shorter_context_says_what_the_longer_one_needs() -> None:
    wanted = replace(SMALL, variants=SMALL.variants[:1], ctx_wish=32768)
    reason = one(told(lab(node("rog", 7), wanted=(wanted,))), "Context")
    assert reason.startswith("Context 16k instead of 32k: 32k needs ")
    assert reason.endswith("more than rog/0 has even when empty.")


def test_a_context_beyond_the_training_says_so() -> None:
    wanted = want("small", "qwen3:4b", ("Q4_K_M",), (4096, 131072))
    here = lab(node("rog", 24), wanted=(wanted,))
    assert one(told(here), "Context") == (
        "Context 40k instead of 128k: the model was trained with no more."
    )


def test_a_smaller_quant_says_what_the_better_one_needs() -> None:
    other = want("other", "llama3.2:3b", ("Q6_K",), (8192, 8192))
    here = lab(node("rog", 8), wanted=(SMALL, other))
    plan = planned(
        here,
        (other, pick(here, "rog/0", 8192, "Q6_K", other)),
        (SMALL, pick(here, "rog/0", 4096, "Q4_K_M")),
    )
    reason = one(told(here, plan), "Q4_K_M instead of Q8_0")
    assert reason.startswith("Q4_K_M instead of Q8_0: Q8_0 at 4k needs ")
    assert reason.endswith(" more than rog/0 has beside other.")


def test_what_would_fit_too_is_not_called_impossible() -> None:
    here = lab(node("rog", 24))
    plan = planned(here, (SMALL, pick(here, "rog/0", 4096, "Q4_K_M")))
    reasons = told(here, plan)
    assert one(reasons, "Q4_K_M instead").endswith(
        "would fit too, and a longer search may take it."
    )
    assert one(reasons, "Context").endswith("would fit too, and a longer search may take it.")


def test_layers_on_the_cpu_are_told_with_what_the_whole_model_needs() -> None:
    wanted = replace(SMALL, offload_allowed=True, variants=SMALL.variants[:1])
    reasons = told(lab(node("rog", 4), wanted=(wanted,)))
    reason = next(each for each in reasons if "run on the CPU:" in each)
    assert "the whole model needs" in reason
    assert "rog/0" in reason
    assert not [each for each in reasons if each.startswith("Only")]


def test_memory_left_is_told_beside_the_margin() -> None:
    assert "0.6 GiB stay free on rog/0 beside the margin of 1.0 GiB." in told(lab(node("rog", 6)))


def test_a_smaller_margin_switches_the_engines_check_off_and_says_so() -> None:
    here = lab(node("rog", 6, margin_bytes=GIB // 4))
    reason = one(told(here), "num_gpu 29")
    assert "it would keep 1.0 GiB of rog/0 free, and you want 0.2 GiB." in reason


def test_two_small_cards_are_used_as_ollama_splits() -> None:
    wanted = want("small", "llama3.1:8b", ("Q8_0",), (4096, 4096))
    reasons = told(lab(node("rog", 8, 8), wanted=(wanted,)))
    assert one(reasons, "Over the GPUs").startswith(
        "Over the GPUs of rog:11434 as Ollama splits it, by free memory: "
    )
    assert one(reasons, "Over the GPUs").endswith("layers on rog/1.")
    assert "rog/0 and rog/1 together are the only place that can serve it as asked for." in reasons


def test_a_place_that_a_full_disk_rules_out_is_not_said_to_lack_room() -> None:
    other = want("other", "qwen3:4b", ("Q4_K_M",), (4096, 4096), pin="tower/0", priority=1)
    full = replace(node("tower", 24), disk_free_bytes=4 * GIB)
    wanted = replace(SMALL, variants=SMALL.variants[:1], ctx_floor=8192)
    reasons = told(lab(full, node("rog", 8), wanted=(wanted, other)))
    assert "Only rog/0 can serve Q8_0 at 8k beside what else is planned." in reasons


@pytest.mark.parametrize(
    ("env", "text"),
    [
        (
            {"OLLAMA_CONTEXT_LENGTH": "2048"},
            "num_ctx is set: left alone this Ollama would take 2k.",
        ),
        ({"OLLAMA_CONTEXT_LENGTH": "8192"}, None),
        ({"OLLAMA_CONTEXT_LENGTH": ' "8192" '}, None),
        (
            {"OLLAMA_CONTEXT_LENGTH": "9" * 5000},
            "num_ctx is set: left alone this Ollama would take 4k.",
        ),
        ({}, "num_ctx is set: left alone this Ollama would take 4k."),
    ],
)
def test_the_context_that_ollama_would_take_is_told_where_it_differs(
    env: dict[str, str], text: str | None
) -> None:
    one_node = node("rog", 8)
    server = replace(one_node.instances[0], env=env)
    reasons = told(lab(replace(one_node, instances=(server,))))
    assert [each for each in reasons if each.startswith("num_ctx")] == ([text] if text else [])


def test_the_80_percent_rule_is_told_with_its_numbers() -> None:
    wanted = want("small", "llama3.1:8b", ("Q8_0",), (8192, 8192))
    here = lab(node("rog", 10.8, 6), wanted=(wanted,))
    plan = planned(here, (wanted, pick(here, "rog/0", 8192, "Q8_0", wanted)))
    assert one(told(here, plan), "Pinned to").startswith(
        "Pinned to rog/0 with main_gpu 0: left alone Ollama would spread it over rog/0 and rog/1,"
        " since it takes it for 8.9 GiB, more than 80 % of the 10.8 free."
    )


def test_spreading_by_the_environment_is_told() -> None:
    one_node = node("rog", 8, 8)
    server = replace(one_node.instances[0], env={"OLLAMA_SCHED_SPREAD": "1"})
    reasons = told(lab(replace(one_node, instances=(server,))))
    assert "OLLAMA_SCHED_SPREAD is set" in one(reasons, "Pinned to")


def test_doubts_are_told() -> None:
    unknown = Card(index=0, name="Odd card", total_bytes=8 * GIB, doubt="no driver tells.")
    one_node = replace(gpu_node("rog", 4), cards=(unknown,))
    guessed = tuple(replace(each, guessed=True) for each in SMALL.variants)
    reasons = told(lab(one_node, wanted=(replace(SMALL, variants=guessed),)))
    assert "What others use of rog/0 is a guess: no driver tells." in reasons
    assert "Its speed is not known: no bandwidth is known of Odd card (rog/0)." in reasons
    assert one(reasons, "Nobody has seen").endswith("the download may fail.")


def test_what_is_there_already_is_told() -> None:
    one_node = node("rog", 8)
    server = replace(one_node.instances[0], installed=("llama3.2:3b-q8_0",))
    here = lab(replace(one_node, instances=(server,)), node("tower", 8))
    assert "rog:11434 has the file already." in told(here)


def test_a_mac_and_a_cpu_have_reasons_too() -> None:
    wanted = replace(SMALL, offload_allowed=True)
    assert told(lab(mac("mini", 16), wanted=(wanted,)))
    assert "All 29 layers run on the CPU of old." in told(lab(gpu_node("old"), wanted=(wanted,)))


def test_a_context_that_would_make_ollama_evict_another_says_so() -> None:
    chat = want("chat", "gemma3:4b", ("Q6_K",), (4096, 65536), residency="on-demand")
    other = want("other", "llama3.2:1b", ("Q8_0",), (2048, 2048))
    here = lab(node("rog", 8.5), wanted=(chat, other))
    reason = one(told(here, quick(here), name="chat"), "Context")
    assert reason.startswith(
        "Context 12k instead of 64k: 64k cannot be: Ollama takes gemma3:4b-q6_k for "
    )
    assert reason.endswith("and would unload another model first.")


def test_the_next_step_is_told_where_something_else_keeps_it() -> None:
    chat = want("chat", "gemma3:4b", ("Q6_K",), (4096, 65536), residency="on-demand")
    other = want("other", "llama3.2:1b", ("Q8_0",), (2048, 2048))
    here = lab(node("rog", 7), wanted=(chat, other))
    reason = one(told(here, quick(here), name="chat"), "Context")
    assert reason.startswith("Context 6k instead of 64k: 64k needs 0.5 GiB more than rog/0 has")
    assert " Already 8k cannot be: Ollama takes gemma3:4b-q6_k for " in reason
