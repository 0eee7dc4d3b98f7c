"""When a model in memory leaves it, told by a clock that may be wrong."""

from datetime import timedelta

import pytest
from django.utils import timezone

from labdash.models import Node
from labdash.queries.loads import read_model
from tests.factories import loaded, make_installed, make_instance, ollama, seen

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("off_s", [None, 0, 3600, -3600, 86_400, -86_400])
def test_time_left_is_right_whatever_the_clock_of_the_node_shows(off_s: float | None) -> None:
    make_installed(make_instance(), "qwen3:8b")
    Node.objects.update(clock_offset_s=off_s)
    now = timezone.now()
    until = now + timedelta(seconds=off_s or 0, minutes=4)
    model = loaded("qwen3:8b").model_copy(update={"expires_at": until})
    seen(instances=(ollama(loaded=(model,)),))
    page = read_model("rog", "qwen3:8b", None, now=now)
    assert page is not None
    assert page.leaves == "leaves in 4 min if it is not used"
