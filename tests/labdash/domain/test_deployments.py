"""What may be wanted: everything that can never be planned is refused in one line."""

from typing import Any

import pytest
from django.utils import timezone

from labdash.domain.deployments import adopt_present, change, create, delete, let_share
from labdash.domain.errors import LabDashError
from labdash.models import Deployment, Family, Gpu, Residency, Variant
from tests.factories import GIB, make_installed, make_instance, make_node, ollama, seen
from workers import wire

pytestmark = pytest.mark.django_db


def want(**fields: Any) -> Deployment:
    values: dict[str, Any] = {"model": "qwen3:14b", **fields}
    return create(**values)


def test_what_is_left_out_is_as_usual() -> None:
    made = want()
    assert (made.name, made.ctx_floor, made.ctx_wish, made.priority) == (
        "qwen3:14b",
        8192,
        32768,
        3,
    )
    assert Deployment.objects.get() == made


def test_second_of_a_model_has_a_name_of_its_own() -> None:
    assert [want().name, want().name] == ["qwen3:14b", "qwen3:14b-2"]


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"model": ""}, "Write a model name, such as qwen3:14b."),
        ({"model": "qwen9:14b"}, "qwen9"),
        ({"quant_floor": "Q4_K_M", "quant_wish": "Q9_X"}, "Q9_X"),
        ({"quant_floor": "Q8_0", "quant_wish": "Q4_K_M"}, "The least quant Q8_0 is better than"),
        ({"ctx_floor": 16384, "ctx_wish": 8192}, "The least context, 16,384, is above the wished"),
        (
            {"ctx_floor": 2**20, "ctx_wish": 2**20},
            "was trained with a context of 40,960, less than",
        ),
        ({"ctx_floor": 100}, "Least context: "),
        ({"priority": 0}, "Priority: "),
        ({"replicas": 99}, "Replicas: "),
        ({"name": "two words"}, "Name: Use letters, digits, dots, colons and hyphens"),
        ({"residency": "often"}, "Residency: "),
        ({"min_tokens_per_s": 0.0}, "Write a speed above 0"),
        ({"nodes": ["attic"]}, "No node and no tag is named attic."),
        ({"pin": "attic/0"}, "No node is named attic"),
        ({"pin": "rog/7"}, "rog has no GPU 7."),
        ({"pin": "rog/cpu"}, "Allow it to use the CPU"),
        (
            {"pin": "rog/0", "nodes": ["beast"]},
            "It is pinned to rog/0, which is none of its nodes.",
        ),
        ({"keep_apart": ["nobody"]}, "No deployment is named nobody"),
        ({"name": "a", "keep_apart": ["a"]}, "a cannot be kept apart from itself."),
        ({"give_way": ["ctx", "ctx"]}, "give_way is a list in which nothing comes twice."),
        ({"give_way": ["speed"]}, "Nothing else gives way as speed"),
        ({"kv_types": ["q5_1"]}, "Ollama knows no such KV cache type as q5_1"),
    ],
)
def test_what_can_never_be_is_refused_with_one_line(fields: dict[str, Any], line: str) -> None:
    Gpu.objects.create(node=make_node("rog"), index=0, name="RTX 3090")
    make_node("beast", urls=["http://127.0.0.1:9"])
    with pytest.raises(LabDashError) as refused:
        want(**fields)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not Deployment.objects.exists()


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("model", ["gpt-oss:120b-cloud", "gpt-oss:cloud"])
def test_what_runs_in_a_cloud_is_refused_with_one_line(model: str, *, installed: bool) -> None:
    if installed:
        make_installed(make_instance(), model, is_cloud=True)
    with pytest.raises(LabDashError) as refused:
        want(model=model)
    assert str(refused.value) == (
        f"{model} runs in Ollama's cloud and takes no memory here: ask for a model that runs in the"
        " lab."
    )


def test_what_an_installed_name_runs_elsewhere_is_refused_too() -> None:
    make_installed(make_instance(), "mine:latest", is_cloud=True)
    with pytest.raises(LabDashError, match="mine runs in Ollama's cloud"):
        want(model="mine")


def test_a_name_is_taken_once_also_by_its_alias() -> None:
    want(name="Chat")
    with pytest.raises(LabDashError, match="There is a deployment named Chat already"):
        want(name="Chat")
    with pytest.raises(LabDashError, match="chat and Chat would both be served as labdash/chat"):
        want(name="chat")


def test_tags_stand_for_nodes() -> None:
    make_node("rog", tags=["fast"])
    assert want(nodes=["fast"]).nodes == ["fast"]


def test_a_change_is_checked_whole_and_keeps_what_it_does_not_name() -> None:
    made = want(priority=1)
    with pytest.raises(LabDashError, match="above the wished"):
        change(deployment=made, ctx_floor=65536)
    changed = change(deployment=made, ctx_wish=16384)
    assert (changed.ctx_floor, changed.ctx_wish, changed.priority) == (8192, 16384, 1)


def test_a_new_name_and_an_end_reach_what_keeps_apart() -> None:
    first, second = want(name="a"), want(name="b", keep_apart=["a"])
    change(deployment=first, name="c")
    second.refresh_from_db()
    assert second.keep_apart == ["c"]
    first.refresh_from_db()
    delete(deployment=first)
    second.refresh_from_db()
    assert second.keep_apart == []


def test_two_may_share_a_device_again_whichever_of_them_was_kept_apart() -> None:
    first, third = want(name="a"), want(name="c")
    second = want(name="b", keep_apart=["a", "c"])
    change(deployment=third, keep_apart=["b"])
    let_share(deployment=second, names=["c", "nobody"])
    assert second.keep_apart == ["a"]
    third.refresh_from_db()
    assert third.keep_apart == []
    let_share(deployment=first, names=["b"])
    second.refresh_from_db()
    assert second.keep_apart == []


def loaded(name: str, **fields: Any) -> wire.LoadedModel:
    values = {"digest": "d", "size_bytes": 6 * GIB, "size_vram_bytes": 6 * GIB, **fields}
    return wire.LoadedModel(name=name, **values)


def test_what_is_loaded_becomes_deployments_with_its_quant_and_context() -> None:
    instance = make_instance()
    variant = Variant.objects.create(
        family=Family.objects.create(name="qwen3:14b"), quant="Q4_K_M", blob_digest="sha256:1"
    )
    make_installed(instance, "qwen3:14b", variant=variant)
    split = loaded("gemma3:27b", context_length=4096, size_vram_bytes=3 * GIB)
    seen(
        instances=(
            ollama(
                loaded=(
                    loaded("qwen3:14b", context_length=16384),
                    split,
                    loaded("labdash/chat:latest", context_length=4096),
                    loaded("nobody-knows:1b", context_length=4096),
                )
            ),
        )
    )
    made = {each.name: each for each in adopt_present(now=timezone.now())}
    assert made.keys() == {"qwen3:14b", "gemma3:27b"}
    chat = made["qwen3:14b"]
    assert (chat.quant_floor, chat.quant_wish, chat.ctx_floor, chat.ctx_wish) == (
        "Q4_K_M",
        "Q4_K_M",
        16384,
        16384,
    )
    assert (chat.nodes, chat.residency) == (["rog"], Residency.RESIDENT)
    assert (chat.offload_allowed, made["gemma3:27b"].offload_allowed) == (False, True)
    assert adopt_present(now=timezone.now()) == []


def test_what_is_installed_is_adopted_by_choice_and_loads_on_demand() -> None:
    instance = make_instance()
    family = Family.objects.create(name="qwen3:14b", context_length=4096)
    variant = Variant.objects.create(family=family, quant="Q4_K_M", blob_digest="sha256:1")
    make_installed(instance, "qwen3:14b", variant=variant)
    make_installed(instance, "labdash/x:latest", variant=variant)
    seen()
    assert adopt_present(now=timezone.now()) == []
    (made,) = adopt_present(installed=True, now=timezone.now())
    assert (made.residency, made.ctx_floor, made.nodes) == (Residency.ON_DEMAND, 4096, ["rog"])
    assert made.offload_allowed


@pytest.mark.parametrize(("gpus", "pin"), [(1, "rog/0"), (2, "")])
def test_what_lies_partly_on_the_only_gpu_keeps_it_and_goes_before_what_lies_on_a_disk(
    gpus: int, pin: str
) -> None:
    instance = make_instance()
    for index in range(gpus):
        Gpu.objects.create(node=instance.node, index=index, uuid=f"GPU-{index}", name="RTX 4070")
    make_installed(instance, "gemma3:27b")
    make_installed(instance, "llama3.1:8b", variant=make_variant("llama3.1:8b"))
    split = loaded("gemma3:27b", context_length=4096, size_vram_bytes=3 * GIB)
    seen(instances=(ollama(loaded=(split,)),))
    made = {each.name: each for each in adopt_present(installed=True, now=timezone.now())}
    running, idle = made["gemma3:27b"], made["llama3.1:8b"]
    assert (running.pin, running.offload_allowed, idle.offload_allowed) == (pin, True, False)
    assert running.priority < idle.priority


def make_variant(family: str) -> Variant:
    return Variant.objects.create(
        family=Family.objects.create(name=family), quant="Q4_K_M", blob_digest=f"sha256:{family}"
    )
