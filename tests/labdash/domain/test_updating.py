"""An update from the wish to the end, and back; whatever happens on the way."""

from datetime import datetime, time, timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash.domain import renewing, schedules, updates, updating
from labdash.domain.errors import LabDashError
from labdash.domain.updates import When
from labdash.models import (
    InstalledModel,
    Instance,
    NameJob,
    NameState,
    Plan,
    PullJob,
    PullState,
    ScheduleRun,
    Update,
    UpdateState,
)
from tests.factories import WHEN, loaded, make_instance, ollama, orders, seen
from tests.labdash.update_rows import (
    MODEL,
    NEW,
    NEW_WEIGHTS,
    OLD,
    copy_of,
    install,
    layers,
    publish,
)
from tests.plan_rows import in_force

pytestmark = pytest.mark.django_db
KEPT = "labdash-before/qwen3:8b"


@pytest.fixture
def rog() -> Instance:
    rog = make_instance("rog")
    seen()
    install(rog)
    publish()
    return rog


def now(**later: float) -> datetime:
    return timezone.now() + timedelta(**later)


def begin(instance: Instance, when: When = updates.NOW) -> Update:
    return updates.update(copy=copy_of(instance), user=None, when=when)


def go_on(row: Update, at: datetime | None = None) -> Update:
    updating.carry_on(now=at or now())
    row.refresh_from_db()
    return row


def named(row: Update, state: NameState = NameState.DONE, **fields: Any) -> None:
    """Let the node have done what it was ordered about a name."""
    assert row.name_job
    NameJob.objects.filter(pk=row.name_job.pk).update(state=state, finished_at=now(), **fields)


def pulled(row: Update, state: PullState = PullState.INSTALLED, **fields: Any) -> None:
    assert row.pull_job
    PullJob.objects.filter(pk=row.pull_job.pk).update(state=state, finished_at=now(), **fields)


def until_trying(instance: Instance) -> Update:
    row = go_on(begin(instance))
    named(row)
    install(instance, KEPT)
    row = go_on(row)
    pulled(row)
    install(instance, digest=NEW, weights=NEW_WEIGHTS)
    return go_on(row)


def in_memory(digest: str, name: str = MODEL) -> None:
    model = loaded(name).model_copy(update={"digest": digest})
    seen(instances=(ollama(loaded=(model,)),))


def test_version_before_is_kept_until_the_new_one_was_in_memory(rog: Instance) -> None:
    row = go_on(begin(rog))
    assert row.state == UpdateState.COPYING
    assert [(o["task"], o["act"], o["model"], o["target"], o["digest"]) for o in orders()] == [
        ("workers.name", "copy", MODEL, KEPT, OLD)
    ]
    named(row)
    install(rog, KEPT)
    row = go_on(row)
    assert (row.state, row.kept_name, row.pull_job.model) == ("pulling", KEPT, MODEL)  # type: ignore[union-attr]
    assert go_on(row).state == UpdateState.PULLING
    pulled(row)
    # Its server has not told yet what it has now.
    assert go_on(row).state == UpdateState.PULLING
    install(rog, digest=NEW, weights=NEW_WEIGHTS)
    row = go_on(row)
    assert (row.state, row.to_digest, row.renews) == ("trying", NEW, True)
    go_on(row)
    in_memory(OLD)
    assert go_on(row).state == UpdateState.TRYING
    in_memory(NEW)
    row = go_on(row)
    assert (row.state, row.kept_name) == ("done", KEPT)
    row = go_on(row)
    assert [(o["act"], o["model"]) for o in orders() if "act" in o][-1] == ("delete", KEPT)
    named(row)
    InstalledModel.objects.filter(name=KEPT).delete()
    assert go_on(row).kept_name == KEPT
    Instance.objects.update(inventory_at=now(minutes=2))
    assert go_on(row).kept_name == ""
    assert copy_of(rog).standing == "same"


def test_name_made_from_the_new_version_counts_as_its_use(rog: Instance) -> None:
    row = until_trying(rog)
    go_on(row)
    alias: dict[str, Any] = {"digest": "e" * 64, "weights": NEW_WEIGHTS, "parent_model": MODEL}
    install(rog, "labdash/chat:latest", **alias, modified_at=WHEN - timedelta(hours=1))
    in_memory("e" * 64, "labdash/chat:latest")
    assert go_on(row).state == UpdateState.TRYING
    install(rog, "labdash/chat:latest", **alias, modified_at=WHEN + timedelta(hours=1))
    assert go_on(row).state == UpdateState.DONE


def test_way_back_is_a_copy_and_that_version_is_not_offered_again(rog: Instance) -> None:
    row = until_trying(rog)
    go_on(row)
    updates.roll_back(update=row)
    row = go_on(row)
    back = orders()[-1]
    assert (back["act"], back["model"], back["target"], back["replaces"]) == (
        "copy",
        KEPT,
        MODEL,
        True,
    )
    named(row)
    assert go_on(row).state == UpdateState.RETURNING
    install(rog)
    row = go_on(row)
    assert (row.state, row.renews) == ("returned", True)
    assert copy_of(rog).standing == "held"
    go_on(row)
    go_on(row)
    assert orders()[-1]["act"] == "delete"
    updates.offer_again(copy=copy_of(rog))
    assert copy_of(rog).standing == "newer"


def test_way_back_that_fails_can_be_gone_again(rog: Instance) -> None:
    row = until_trying(rog)
    updates.roll_back(update=row)
    row = go_on(go_on(row))
    named(row, NameState.FAILED, meaning="Its disk is full.")
    row = go_on(row)
    assert (row.state, row.reason) == ("trying", "Its disk is full.")
    updates.roll_back(update=row)


def test_still_newer_version_leaves_the_last_one_that_was_used_kept(rog: Instance) -> None:
    first = until_trying(rog)
    go_on(first)
    publish(digest="c" * 64, files=layers("3" * 64))
    row = begin(rog)
    first.refresh_from_db()
    assert (first.state, first.kept_name, row.kept_name) == ("done", "", KEPT)
    row = go_on(row)
    assert (row.state, row.from_digest) == ("pulling", NEW)
    assert [o["act"] for o in orders() if "act" in o] == ["copy"]
    pulled(row)
    assert go_on(row).state == UpdateState.PULLING
    install(rog, digest="c" * 64)
    row = go_on(row)
    updates.roll_back(update=row)
    row = go_on(go_on(row))
    assert (orders()[-1]["model"], orders()[-1]["digest"]) == (KEPT, OLD)


def test_way_back_that_somebody_deleted_is_told(rog: Instance) -> None:
    row = until_trying(rog)
    go_on(row)
    updates.roll_back(update=row)
    InstalledModel.objects.filter(name=KEPT).delete()
    row = go_on(row)
    assert (row.state, row.reason) == ("done", f"{KEPT} is not there any more.")


def test_copy_that_nobody_took_up_is_tried_again(rog: Instance) -> None:
    row = go_on(begin(rog))
    named(row, NameState.FAILED, meaning="It was not taken up.")
    assert (go_on(row).state, row.reason) == ("waiting", "It was not taken up.")
    assert go_on(row).state == UpdateState.COPYING
    named(row, NameState.FAILED)
    assert go_on(row, now(days=2)).state == UpdateState.FAILED


def test_there_is_no_way_back_once_the_version_before_is_gone(rog: Instance) -> None:
    row = until_trying(rog)
    updates.settle(update=row)
    assert row.state == UpdateState.DONE
    with pytest.raises(LabDashError, match="not kept any more"):
        updates.roll_back(update=row)


def test_pull_that_fails_leaves_the_version_before_and_no_second_name(rog: Instance) -> None:
    row = go_on(begin(rog))
    named(row)
    install(rog, KEPT)
    row = go_on(row)
    pulled(row, PullState.FAILED, reason="No space left.")
    row = go_on(row)
    assert (row.state, row.reason) == ("failed", "No space left.")
    go_on(row)
    assert orders()[-1]["act"] == "copy"
    go_on(row, now(hours=2))
    assert orders()[-1]["act"] == "delete"
    assert copy_of(rog).is_free


def test_version_that_came_after_its_pull_was_given_up_can_be_taken_back_too(rog: Instance) -> None:
    row = go_on(begin(rog))
    named(row)
    install(rog, KEPT)
    row = go_on(row)
    pulled(row, PullState.CANCELLED)
    assert go_on(go_on(row)).state == UpdateState.CANCELLED
    install(rog, digest=NEW, weights=NEW_WEIGHTS)
    row = go_on(row)
    assert (row.state, row.kept_name, row.renews) == ("trying", KEPT, True)


def test_name_of_an_old_update_is_left_to_the_next_one(rog: Instance) -> None:
    row = until_trying(rog)
    updates.settle(update=row)
    publish(digest="c" * 64, files=layers("3" * 64))
    new = begin(rog)
    Update.objects.filter(pk=new.pk).update(state=UpdateState.COPYING)
    go_on(row)
    assert [o["act"] for o in orders() if "act" in o] == ["copy"]


def test_copy_that_fails_begins_no_pull(rog: Instance) -> None:
    row = go_on(begin(rog))
    named(row, NameState.FAILED, meaning="It was changed.", heartbeat_at=now())
    assert (go_on(row).state, row.reason) == ("failed", "It was changed.")
    assert not PullJob.objects.exists()


def test_node_that_sleeps_is_waited_for(rog: Instance) -> None:
    row = begin(rog)
    seen(age_s=60)
    row = go_on(row)
    assert row.state == UpdateState.WAITING
    assert "silent" in row.reason
    seen()
    assert go_on(row).state == UpdateState.COPYING


def test_update_for_tonight_waits_for_it_and_for_the_next_night_if_it_was_missed(
    rog: Instance,
) -> None:
    starts = now(hours=3)
    row = begin(rog, When(not_before_at=starts, not_after_at=starts + timedelta(hours=4)))
    assert go_on(row).state == UpdateState.WAITING
    row = go_on(row, starts + timedelta(hours=5))
    assert row.not_before_at == starts + timedelta(days=1)
    assert "last night" in row.reason
    # Whoever wants it sooner can have it.
    assert begin(rog).pk == row.pk
    row = go_on(row)
    named(row)
    assert go_on(row).pull_job.not_before_at is None  # type: ignore[union-attr]


def test_pull_is_bound_to_the_window(rog: Instance) -> None:
    when = When(priority=7, not_before_at=now(hours=-1), not_after_at=now(hours=2))
    row = go_on(begin(rog, when))
    named(row)
    job = go_on(row).pull_job
    assert job
    assert (job.priority, job.not_after_at) == (7, when.not_after_at)
    # What has not come by the end of its night goes on in the next one.
    go_on(row, when.not_after_at)
    job.refresh_from_db()
    assert when.not_after_at
    assert job.not_after_at == when.not_after_at + timedelta(days=1)


def test_update_of_a_schedule_whose_window_is_over_waits_for_that_schedule(rog: Instance) -> None:
    ends = now(hours=-1)
    row = begin(rog, When(not_before_at=now(hours=-5), not_after_at=ends))
    schedule = schedules.create(name="nightly", model_names=["qwen3:8b"], until=time(6), zone="UTC")
    run = ScheduleRun.objects.create(schedule=schedule, due_at=now(), started_at=now())
    Update.objects.update(run=run)
    row = go_on(row)
    assert (row.state, row.not_after_at) == (UpdateState.WAITING, ends)


def test_what_somebody_updated_by_hand_is_done(rog: Instance) -> None:
    row = begin(rog)
    install(rog, digest=NEW)
    assert go_on(row).state == UpdateState.DONE
    assert orders() == []


def test_model_that_was_deleted_meanwhile_is_not_pulled(rog: Instance) -> None:
    row = begin(rog)
    InstalledModel.objects.all().delete()
    row = go_on(row)
    assert (row.state, row.reason) == ("failed", "qwen3:8b is not on rog/ollama any more.")


def test_pull_that_brought_nothing_new_ends_well(rog: Instance) -> None:
    row = go_on(begin(rog))
    named(row)
    row = go_on(row)
    pulled(row)
    Instance.objects.update(inventory_at=now(minutes=2))
    row = go_on(row)
    assert (row.state, row.reason) == (
        "done",
        "The pull brought the version that was there already.",
    )


def test_silent_store_or_intake_changes_nothing(rog: Instance, dead_store: None) -> None:
    assert updating.carry_on(now=now()) == 0
    begin(rog)
    assert updating.carry_on(now=now()) == 0


def test_names_of_a_plan_are_made_anew_and_what_was_loaded_leaves_first(rog: Instance) -> None:
    item = in_force(rog)
    install(rog, "labdash/chat:latest", parent_model=MODEL, modified_at=WHEN - timedelta(1))
    in_memory("e" * 64, "labdash/chat:latest")
    row = until_trying(rog)
    row = go_on(row)
    item.refresh_from_db()
    assert (row.renews, item.state, item.plan.state) == (False, "unloading", "applying")
    assert (orders()[-1]["wish"], orders()[-1]["model"]) == ("unload", "labdash/chat")


def test_item_that_holds_no_memory_is_only_made_anew(rog: Instance) -> None:
    item = in_force(rog)
    row = until_trying(rog)
    go_on(row)
    item.refresh_from_db()
    assert item.state == "waiting"


def test_item_under_way_is_waited_for_and_one_of_the_new_version_left_alone(rog: Instance) -> None:
    item = in_force(rog, state="loading")
    row = until_trying(rog)
    assert go_on(row).renews
    install(rog, "labdash/chat:latest", parent_model=MODEL, modified_at=WHEN + timedelta(1))
    item.state = "ready"
    item.save()
    assert not go_on(row).renews
    item.refresh_from_db()
    assert item.state == "ready"


def test_version_that_somebody_pulled_past_labdash_is_served_too(rog: Instance) -> None:
    item = in_force(rog)
    Plan.objects.update(applied_at=now(minutes=-5))
    Instance.objects.update(inventory_at=now(minutes=-1))
    install(rog, "labdash/chat:latest", parent_model=MODEL)
    assert renewing.renew_stale(now=now()) == 0
    install(rog, digest=NEW, weights=NEW_WEIGHTS, modified_at=WHEN + timedelta(1))
    Plan.objects.update(applied_at=now())
    assert renewing.renew_stale(now=now()) == 0
    Plan.objects.update(applied_at=now(minutes=-5))
    in_memory("e" * 64, "labdash/chat:latest")
    assert renewing.renew_stale(now=now()) == 1
    item.refresh_from_db()
    assert (item.state, orders()[-1]["wish"]) == ("unloading", "unload")
    assert renewing.renew_stale(now=now()) == 0
