import pytest
from django.utils import timezone

from labdash.models import PullSettings
from labdash.queries.lab import read_lab
from labdash.queries.problems import find_problems
from tests.factories import GIB, make_node, ollama, seen
from workers import wire


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("free_gib", "lab_gib", "own_gib", "codes"),
    [
        (99, 100, None, ["keep_free"]),
        (100, 100, None, []),
        (99, 100, 50, []),
        (49, 0, 50, ["keep_free"]),
        # Told in sharper words already.
        (9, 100, None, ["disk_low"]),
    ],
)
def test_less_free_than_wanted_is_a_problem(
    free_gib: int, lab_gib: int, own_gib: int | None, codes: list[str]
) -> None:
    make_node(keep_free_bytes=None if own_gib is None else own_gib * GIB)
    PullSettings.objects.create(pk=1, keep_free_bytes=lab_gib * GIB)
    disk = wire.DiskReading(path="/m", total_bytes=900 * GIB, free_bytes=free_gib * GIB)
    seen(instances=(ollama(disk=disk),))
    problems = find_problems(read_lab(now=timezone.now()))
    assert [each.code for each in problems if each.code in {"keep_free", "disk_low"}] == codes
