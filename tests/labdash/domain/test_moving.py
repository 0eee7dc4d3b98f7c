from datetime import timedelta

import pytest
from django.utils import timezone

from labdash.domain import moving
from labdash.domain.errors import LabDashError
from labdash.models import Instance, Move, MoveState, NameJob, PullJob
from tests.factories import make_installed, make_instance, orders, seen
from tests.labdash.update_rows import publish
from tests.plan_rows import in_force

pytestmark = pytest.mark.django_db


@pytest.fixture
def rog() -> Instance:
    """Return a server with a model; ``tower`` is beside it."""
    instance = make_instance()
    make_instance("tower")
    make_installed(instance)
    for slug in ("rog", "tower"):
        seen(slug)
    return instance


def tower() -> Instance:
    return Instance.objects.get(node__slug="tower")


def begin(rog: Instance) -> Move:
    row = rog.installed_models.select_related("instance__node").get()
    return moving.move(installed=row, target=tower(), user=None)


def carried(job: Move, *, later_s: float = 0) -> tuple[str, str]:
    moving.carry_on(now=timezone.now() + timedelta(seconds=later_s))
    job.refresh_from_db()
    return job.state, job.reason


def names(to: str) -> list[str]:
    return [order["act"] for order in orders(to) if order["task"] == "workers.name"]


def tell() -> None:
    """Let both sides tell what they have now."""
    Instance.objects.update(inventory_at=timezone.now())


def arrive(job: Move, digest: str) -> None:
    """Let the pull end, and the node tell what it has now."""
    PullJob.objects.update(state="installed")
    carried(job)
    make_installed(tower(), digest=digest, modified_at=timezone.now())
    tell()


def test_a_model_is_deleted_here_only_once_the_same_one_is_there(rog: Instance) -> None:
    job = begin(rog)
    assert carried(job)[0] == MoveState.PULLING
    PullJob.objects.update(state="installed")
    assert carried(job)[0] == MoveState.CHECKING
    assert (carried(job)[0], names("rog")) == (MoveState.CHECKING, [])
    make_installed(tower(), modified_at=timezone.now())
    # What was told before the pull ended says nothing.
    assert (carried(job)[0], names("rog")) == (MoveState.CHECKING, [])
    tell()
    assert (carried(job)[0], names("rog")) == (MoveState.DELETING, [])
    # Twice: two ticks may meet.
    assert (carried(job), carried(job)[0]) == ((MoveState.DELETING, ""), MoveState.DELETING)
    assert names("rog") == ["delete"]
    NameJob.objects.update(state="done")
    assert carried(job)[0] == MoveState.DONE


def test_another_version_there_lets_this_one_stay(rog: Instance) -> None:
    job = begin(rog)
    arrive(job, "e" * 64)
    state, reason = carried(job)
    assert (state, names("rog")) == (MoveState.FAILED, [])
    assert "another version" in reason


def test_a_pull_that_fails_or_a_node_that_tells_nothing_lets_it_stay(rog: Instance) -> None:
    job = begin(rog)
    PullJob.objects.update(state="failed", reason="No such tag.")
    assert carried(job) == (
        MoveState.FAILED,
        "It did not arrive on tower/ollama, so it stays here. No such tag.",
    )
    again = begin(rog)
    PullJob.objects.update(state="installed")
    carried(again)
    assert carried(again, later_s=100)[0] == MoveState.CHECKING
    assert carried(again, later_s=1000)[0] == MoveState.FAILED
    assert names("rog") == []


def test_a_machine_that_sleeps_deletes_once_it_is_back(rog: Instance) -> None:
    job = begin(rog)
    arrive(job, "d" * 64)
    carried(job)
    seen("rog", age_s=100)
    assert "Waits to be deleted here: rog has been silent" in carried(job)[1]
    seen("rog")
    assert "tower/ollama has not told lately" in carried(job, later_s=1000)[1]
    Instance.objects.filter(node__slug="rog").update(inventory_at=job.created_at - timedelta(1))
    assert "rog/ollama has not told lately" in carried(job)[1]
    assert names("rog") == []
    tell()
    assert (carried(job)[1], names("rog")) == ("", ["delete"])


def test_what_a_plan_serves_by_now_is_not_deleted_here(rog: Instance) -> None:
    job = begin(rog)
    arrive(job, "d" * 64)
    carried(job)
    item = in_force(rog, model="qwen3:8b")
    assert "Waits to be deleted here: the plan serves" in carried(job)[1]
    item.plan.delete()
    assert (carried(job)[1], names("rog")) == ("", ["delete"])


def test_what_is_gone_from_there_in_the_meantime_stays_here(rog: Instance) -> None:
    job = begin(rog)
    arrive(job, "d" * 64)
    carried(job)
    tower().installed_models.all().delete()
    assert (carried(job)[0], names("rog")) == (MoveState.FAILED, [])


def test_what_is_there_already_is_only_deleted_here(rog: Instance) -> None:
    make_installed(tower(), modified_at=timezone.now())
    job = begin(rog)
    assert [carried(job)[0] for _ in range(2)] == [MoveState.CHECKING] * 2
    tell()
    assert carried(job)[0] == MoveState.DELETING
    assert not PullJob.objects.exists()


def test_a_move_can_be_cancelled_and_not_begun_twice(rog: Instance) -> None:
    job = begin(rog)
    with pytest.raises(LabDashError, match="being moved"):
        begin(rog)
    moving.cancel(job=job)
    job.refresh_from_db()
    assert job.state == MoveState.CANCELLED
    assert PullJob.objects.get().cancel_requested
    make_installed(tower(), "qwen3:8b", digest="e" * 64)
    with pytest.raises(LabDashError, match="another version"):
        begin(rog)


def test_what_would_come_as_another_version_is_not_moved(rog: Instance) -> None:
    publish("qwen3:8b", digest="e" * 64)
    with pytest.raises(LabDashError, match="Pull it here first"):
        begin(rog)
    publish("qwen3:8b", digest="d" * 64)
    assert begin(rog).pull_job


def test_two_servers_of_one_store_never_lose_their_only_copy(rog: Instance) -> None:
    row = make_installed(tower())
    with pytest.raises(LabDashError, match="both may have one store"):
        begin(rog)
    row.delete()
    job = begin(rog)
    PullJob.objects.update(state="installed")
    carried(job)
    make_installed(tower())
    tell()
    carried(job)
    assert (carried(job)[0], names("rog")) == (MoveState.FAILED, [])
