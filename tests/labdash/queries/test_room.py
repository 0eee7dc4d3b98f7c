from typing import Any

import pytest
from django.utils import timezone

from labdash.domain.errors import LabDashError
from labdash.domain.library import record_inventory
from labdash.domain.pulls import request_pull
from labdash.domain.telemetry import record_sample
from labdash.models import Instance, PullJob, PullSettings
from labdash.queries.room import judge, missing_bytes, read_disks, room_for
from tests.factories import GIB, installed, inventory, make_instance, make_job, ollama, sample
from workers import wire

WEIGHTS, CONFIG = "a" * 64, "b" * 64
QWEN = installed(
    "qwen3:8b",
    digest="c" * 64,
    layers=(
        wire.Layer(digest=WEIGHTS, size_bytes=5 * GIB, kind="model"),
        wire.Layer(digest=CONFIG, size_bytes=500, kind="config"),
    ),
)


LESS = "rog has 20.0 GiB free, less"
SHORT = "1.0 GiB short of the 5.0 GiB that this takes."


@pytest.mark.parametrize(
    ("need", "free", "keep", "pending", "fits", "words"),
    [
        (5, 20, 10, 0, True, "15.0 GiB will be left on rog."),
        (5, 20, 16, 0, False, f"{LESS} 16.0 GiB to be kept free: {SHORT}"),
        (5, 20, 0, 16, False, f"{LESS} 16.0 GiB for other pulls: {SHORT}"),
        (5, None, 10, 0, None, "What is free on the disk of rog is not known."),
        (None, 20, 0, 0, None, "rog has 20.0 GiB free; what this takes is not known."),
        # A full disk takes nothing more, but what is there already costs nothing.
        (0, 5, 10, 0, True, "5.0 GiB will be left on rog."),
    ],
)
def test_the_verdict_in_words(
    need: int | None, free: int | None, keep: int, pending: int, fits: bool | None, words: str
) -> None:
    room = judge(
        "rog",
        None if need is None else need * GIB,
        free_bytes=None if free is None else free * GIB,
        keep_bytes=keep * GIB,
        pending_bytes=pending * GIB,
    )
    assert (room.fits, room.words) == (fits, words)


def with_disk(instance: Instance, free_gib: float) -> Instance:
    disk = wire.DiskReading(path="/m", total_bytes=900 * GIB, free_bytes=int(free_gib * GIB))
    slug = instance.node.slug
    record_sample(sample(slug, instances=(ollama(disk=disk),)), arrived_at=timezone.now())
    return instance


@pytest.mark.django_db
def test_a_full_disk_is_refused_before_the_first_byte_where_another_node_tells_the_size() -> None:
    make_instance("tower")
    record_inventory(inventory(QWEN, slug="tower"), arrived_at=timezone.now())
    rog = with_disk(make_instance(), 12)

    with pytest.raises(LabDashError, match=r"qwen3:8b does not fit: rog has 12\.0 GiB free"):
        request_pull(instance=rog, model="qwen3:8b", user=None)

    assert not PullJob.objects.exists()
    rog.node.keep_free_bytes = 0
    rog.node.save()
    assert request_pull(instance=rog, model="qwen3:8b", user=None).is_active


@pytest.mark.django_db
def test_the_catalog_tells_the_size_of_what_nobody_has() -> None:
    rog = with_disk(make_instance(), 13)
    assert missing_bytes(rog, "llama2:7b") == 3826781184
    with pytest.raises(LabDashError, match="Delete something on Storage first"):
        request_pull(instance=rog, model="llama2:7b", user=None)
    assert missing_bytes(rog, "unheard/of:1b") is None
    assert request_pull(instance=rog, model="unheard/of:1b", user=None).is_active


@pytest.mark.django_db
def test_files_that_are_there_or_on_their_way_do_not_count_twice() -> None:
    make_instance("tower")
    record_inventory(inventory(QWEN, slug="tower"), arrived_at=timezone.now())
    rog = make_instance()
    begun = wire.Partial(digest=WEIGHTS, size_bytes=2 * GIB, age_s=5)
    shelf = wire.ShelfReading(path="/m", partials=(begun,))
    record_inventory(inventory(shelf=shelf), arrived_at=timezone.now())
    rog.refresh_from_db()
    assert missing_bytes(rog, "qwen3:8b") == 3 * GIB + 500
    alias = QWEN.model_copy(update={"name": "labdash/mine", "digest": "d" * 64})
    record_inventory(inventory(alias), arrived_at=timezone.now())
    rog.refresh_from_db()
    assert missing_bytes(rog, "qwen3:8b") == 0


@pytest.mark.django_db
def test_what_other_pulls_still_take_is_taken_and_many_disks_cost_as_much_as_one(
    django_assert_num_queries: Any,
) -> None:
    rog, tower = with_disk(make_instance(), 100), with_disk(make_instance("tower"), 50)
    make_job(rog, total_bytes=30 * GIB, done_bytes=10 * GIB)
    PullSettings.objects.create(pk=1, keep_free_bytes=5 * GIB)
    with django_assert_num_queries(4):
        disks = read_disks([rog, tower])
    assert disks.room_for(rog, GIB).after_bytes == 79 * GIB
    assert (disks.room_for(tower, GIB).after_bytes, disks.keep[tower.pk]) == (49 * GIB, 5 * GIB)
    assert room_for(rog, 80 * GIB).fits is False
