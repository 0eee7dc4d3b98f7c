"""Inventories become families, variants and installed models."""

from typing import Any

import pytest
from django.utils import timezone

from labdash.domain.library import family_name, record_inventory
from labdash.models import Family, InstalledModel, Instance, Variant
from tests.factories import GIB, installed, inventory, make_node
from workers import wire

pytestmark = pytest.mark.django_db


def record(*models: wire.InstalledModel, **fields: Any) -> bool:
    """Record an inventory that arrives now."""
    return record_inventory(inventory(*models, **fields), arrived_at=timezone.now())


@pytest.mark.parametrize(
    ("name", "parameter_size", "family"),
    [
        ("qwen3:14b", "14.8B", "qwen3:14b"),
        ("qwen3:14b-q8_0", "14.8B", "qwen3:14b"),
        ("qwen3:30b-a3b-instruct-q4_K_M", None, "qwen3:30b-a3b"),
        ("qwen3:30B", None, "qwen3:30b"),
        ("gemma3:270m", None, "gemma3:270m"),
        ("gemma3n:e4b-it-q4_K_M", None, "gemma3n:e4b"),
        ("mixtral:8x7b", None, "mixtral:8x7b"),
        ("deepseek-r1:1.5b", None, "deepseek-r1:1.5b"),
        ("qwen3:latest", "8.2B", "qwen3:8.2b"),
        ("phi4:latest", None, "phi4"),
        ("someone/model:7b", None, "someone/model:7b"),
        ("hf.co/u/Repo-GGUF:Q4_K_M", "1.24B", "hf.co/u/Repo-GGUF:1.24b"),
        ("nas:5000/library/qwen3", "8.2B", "nas:5000/library/qwen3:8.2b"),
        ("x:3bits", None, "x"),
    ],
)
def test_a_family_is_named_by_model_and_size(
    name: str, parameter_size: str | None, family: str
) -> None:
    assert family_name(name, parameter_size) == family


def test_an_inventory_makes_the_rows() -> None:
    make_node()
    record(installed("qwen3:8b", parameter_count=8_190_735_360, context_length=40960))
    row = InstalledModel.objects.select_related("variant__family").get()
    assert row.variant is not None
    assert (row.name, row.size_bytes, row.variant.quant) == ("qwen3:8b", 5 * GIB, "Q4_K_M")
    family = row.variant.family
    assert (family.name, family.parameter_count, family.context_length) == (
        "qwen3:8b",
        8_190_735_360,
        40960,
    )
    instance = Instance.objects.get()
    assert (instance.version, instance.inventory_at is not None) == ("0.32.15", True)


def test_names_that_share_a_file_share_a_variant_under_the_name_with_a_size() -> None:
    make_node()
    blob = "sha256:b"
    record(
        installed("mine:latest", blob_digest=blob, parent_model="qwen3:8b"),
        installed("qwen3:latest", blob_digest=blob, parameter_size="8.2B"),
        installed("qwen3:8b", blob_digest=blob),
    )
    assert Variant.objects.get().family.name == "qwen3:8b"
    assert InstalledModel.objects.filter(variant=Variant.objects.get()).count() == 3


def test_one_file_on_two_nodes_is_one_variant() -> None:
    make_node("rog")
    make_node("tower")
    record(installed("qwen3:8b"), slug="rog")
    record(installed("qwen3:8b"), slug="tower")
    assert (Variant.objects.count(), InstalledModel.objects.count()) == (1, 2)


def test_quants_of_one_model_are_variants_of_one_family() -> None:
    make_node()
    record(installed("qwen3:8b"), installed("qwen3:8b-q8_0", quant="Q8_0"))
    assert list(Family.objects.values_list("name")) == [("qwen3:8b",)]
    assert set(Variant.objects.values_list("quant", flat=True)) == {"Q4_K_M", "Q8_0"}


def test_files_without_a_digest_are_told_apart_by_quant_and_size() -> None:
    make_node()
    for _ in range(2):
        record(
            installed("qwen3:8b", blob_digest=None),
            installed("qwen3:8b-q8_0", blob_digest=None, quant="Q8_0"),
        )
    assert Variant.objects.count() == 2


def test_a_cloud_stub_has_no_variant() -> None:
    make_node()
    record(installed("gpt-oss:120b-cloud", is_cloud=True, size_bytes=384))
    row = InstalledModel.objects.get()
    assert (row.is_cloud, row.variant, Variant.objects.count()) == (True, None, 0)


def test_what_is_gone_from_an_instance_is_forgotten_there_and_nowhere_else() -> None:
    make_node("rog")
    make_node("tower")
    record(installed("a:1b"), installed("b:1b"), slug="rog")
    record(installed("a:1b"), slug="tower")
    record(installed("b:1b"), slug="rog")
    rows = InstalledModel.objects.order_by("name").values_list("instance__node__slug", "name")
    assert list(rows) == [("tower", "a:1b"), ("rog", "b:1b")]


def test_an_updated_model_is_changed_in_place() -> None:
    make_node()
    record(installed("qwen3:8b"))
    before = InstalledModel.objects.get()
    record(installed("qwen3:8b", digest="new", blob_digest="sha256:new"))
    after = InstalledModel.objects.get()
    assert (after.pk, after.digest) == (before.pk, "new")
    assert after.variant != before.variant


def test_an_unknown_instance_is_refused() -> None:
    make_node()
    assert record(installed("a:1b"), instance="other") is False
    assert record(installed("a:1b"), slug="nobody") is False
    assert not InstalledModel.objects.exists()


@pytest.mark.parametrize("count", [1, 3])
def test_an_unchanged_inventory_takes_as_many_queries_for_three_models_as_for_one(
    count: int, django_assert_num_queries: Any
) -> None:
    make_node()
    models = [installed(f"m{number}:1b") for number in range(count)]
    record(*models)
    with django_assert_num_queries(7):
        record(*models)


@pytest.mark.parametrize(
    ("capabilities", "vision"),
    [(("completion", "vision"), True), (("completion",), False), ((), None)],
)
def test_whether_a_file_reads_images_is_kept_as_its_server_says(
    capabilities: tuple[str, ...], vision: bool | None
) -> None:
    make_node()
    record(installed("gemma3:4b", capabilities=capabilities))
    record(installed("gemma3:4b"))
    assert Variant.objects.get().vision is vision
