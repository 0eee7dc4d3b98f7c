"""Smaller files of a 16-bit model: what the page says, and what its button orders."""

from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from labdash.models import InstalledModel, Manifest, NameJob
from labdash.queries.lab import read_lab
from labdash.queries.quantizing import own_name, read_smaller
from tests.factories import GIB, make_instance, ollama, orders, seen
from tests.labdash.update_rows import OLD, install
from workers import wire

pytestmark = pytest.mark.django_db
NAME, FILE_BYTES = "llama3.1:8b-instruct-fp16", 16_068_896_864


@pytest.fixture
def f16() -> InstalledModel:
    rog = make_instance("rog")
    seen()
    row = install(rog, NAME, size_bytes=FILE_BYTES + 5000)
    assert row.variant
    row.variant.quant, row.variant.format = "F16", "gguf"
    row.variant.save()
    layers = [["1" * 64, FILE_BYTES, "model"], ["2" * 64, 5000, "license"]]
    Manifest.objects.create(instance=rog, digest=OLD, layers=layers)
    return row


def address(name: str, *args: object, **query: str) -> str:
    query = {"instance": "ollama", "model": NAME, **query}
    return f"{reverse(name, args=['rog', *args])}?{urlencode(query)}"


def test_sizes_are_those_of_the_published_files_to_the_byte(f16: InstalledModel) -> None:
    found = {each.label: each for each in read_smaller(read_lab(now=timezone.now()), f16)}
    assert (found["Q8_0"].bytes, found["Q4_K_M"].bytes) == (8_540_776_544, 4_920_739_936)
    assert all(each.is_exact for each in found.values())
    assert found["Q4_K_S"].quality
    assert found["Q8_0"].target == "llama3.1:8b-instruct-own-q8_0"


def test_sizes_without_the_file_or_the_shape_are_said_to_be_about(f16: InstalledModel) -> None:
    Manifest.objects.all().delete()
    lab = read_lab(now=timezone.now())
    assert not any(each.is_exact for each in read_smaller(lab, f16))
    f16.name = "nobody-knows:fp16"
    assert [each.bytes for each in read_smaller(lab, f16)] == [None] * 3
    assert f16.variant
    f16.variant.family.parameter_count = 8_000_000_000
    assert [each.bytes for each in read_smaller(lab, f16)] == [8.5e9, 4.9e9, 4.6e9]


def test_page_tells_size_loss_memory_and_disk(page: Client, f16: InstalledModel) -> None:
    shown = page.get(address("model_smaller")).content.decode()
    for text in ("8.0 GiB", "exactly", "KL 0.0", "will be left on rog", "Make it", "GPU 0"):
        assert text in shown
    assert "Make a smaller file" in page.get(address("model")).content.decode()
    poll = page.get(address("model_smaller"), headers={"HX-Target": "poll"})
    assert b"exactly" not in poll.content


def test_button_orders_it_and_it_can_be_given_up(page: Client, f16: InstalledModel) -> None:
    make = address("model_quantize", quant="q4_K_M")
    assert page.post(make, headers={"HX-Request": "true"}).status_code == 204
    (order,) = orders()
    assert (order["task"], order["act"], order["quant"]) == ("workers.name", "quantize", "q4_K_M")
    assert order["target"] == "llama3.1:8b-instruct-own-q4_K_M"
    assert order["deadline_s"] == wire.QUANTIZE_DEADLINE_S
    assert "Ollama says nothing" in page.get(address("model_smaller")).content.decode()
    job = NameJob.objects.get()
    url = address("model_quantize_cancel", job.pk)
    assert page.post(url, headers={"HX-Request": "true"}).status_code == 204
    job.refresh_from_db()
    assert job.cancel_requested


def test_disk_without_room_refuses_it_before_the_first_byte(
    page: Client, f16: InstalledModel
) -> None:
    disk = wire.DiskReading(path="/models", total_bytes=900 * GIB, free_bytes=12 * GIB)
    seen(instances=(ollama(disk=disk),))
    answer = page.post(address("model_quantize", quant="q8_0"), headers={"HX-Request": "true"})
    assert answer.status_code == 422
    assert "short of" in answer.content.decode()
    assert not NameJob.objects.exists()


@pytest.mark.parametrize("quant", ["q6_K", ""])
def test_what_ollama_cannot_make_is_refused(page: Client, f16: InstalledModel, quant: str) -> None:
    answer = page.post(address("model_quantize", quant=quant), headers={"HX-Request": "true"})
    assert "of F16, BF16 and F32 alone" in answer.content.decode()


def test_quantized_model_has_no_such_page(page: Client, f16: InstalledModel) -> None:
    assert f16.variant
    f16.variant.quant = "Q4_K_M"
    f16.variant.save()
    assert page.get(address("model_smaller")).status_code == 404
    assert "Make a smaller file" not in page.get(address("model")).content.decode()


def test_name_that_is_there_is_not_made_twice(page: Client, f16: InstalledModel) -> None:
    install(f16.instance, own_name(NAME, "q8_0"))
    assert "is there" in page.get(address("model_smaller")).content.decode()
    answer = page.post(address("model_quantize", quant="q8_0"), headers={"HX-Request": "true"})
    assert "already: delete it first" in answer.content.decode()


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("qwen3:8b-fp16", "qwen3:8b-own-q8_0"),
        ("qwen3:bf16", "qwen3:own-q8_0"),
        ("me/mine:latest", "me/mine:own-q8_0"),
        ("hf.co/a/b-GGUF:BF16", "hf.co/a/b-GGUF:own-q8_0"),
        ("x:8b-f16-instruct", "x:8b-instruct-own-q8_0"),
    ],
)
def test_name_of_what_is_made_is_one_that_nobody_publishes(name: str, made: str) -> None:
    assert own_name(name, "q8_0") == made
