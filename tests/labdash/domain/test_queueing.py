"""Who comes before whom, and what somebody who moves a job changes."""

import pytest

from labdash.domain.errors import LabDashError
from labdash.domain.queueing import Place, move_pull, moved_to
from labdash.models import PullJob
from tests.factories import make_instance, make_job, running_job, seen

QUEUE = [Place(id=1, priority=1), Place(id=2, priority=5), Place(id=3, priority=5)]


@pytest.mark.parametrize(
    ("moved", "to", "order", "priority"),
    [
        (3, 1, [1, 3, 2], 5),
        (3, 0, [3, 1, 2], 1),
        (1, 1, [2, 1, 3], 5),
        (1, 9, [2, 3, 1], 5),
        (2, -4, [2, 1, 3], 1),
        (2, 1, [1, 2, 3], 5),
    ],
)
def test_a_moved_job_takes_the_priority_of_those_it_comes_between(
    moved: int, to: int, order: list[int], priority: int
) -> None:
    places = moved_to(QUEUE, moved, to)
    assert [place.id for place in places] == order
    assert next(place.priority for place in places if place.id == moved) == priority
    assert places == sorted(places, key=lambda place: (place.priority, place.rank))
    assert all(place.rank < 0 for place in places)


@pytest.mark.django_db(transaction=True)
def test_moving_changes_the_queue_of_one_instance_and_not_what_runs() -> None:
    running = running_job(model="a:1b")
    jobs = [make_job(running.instance, model=f"{letter}:1b") for letter in "bcd"]
    other = make_job(make_instance("tower"))
    seen("rog")
    assert move_pull(job=jobs[2], to=0) == 0
    later = make_job(running.instance, model="e:1b")
    waiting = PullJob.objects.waiting().filter(instance=running.instance).in_order()
    assert list(waiting) == [jobs[2], jobs[0], jobs[1], later]
    other.refresh_from_db()
    assert other.rank == 0
    active = PullJob.objects.active().filter(instance=running.instance).in_order()
    assert active.first() == running
    with pytest.raises(LabDashError, match="waits no more"):
        move_pull(job=running, to=1)
