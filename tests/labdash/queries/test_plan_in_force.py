"""What of the plan in force stays where it is while another is thought of."""

import pytest

from labdash.models import Deployment, Instance
from labdash.queries.plan_in_force import read_stays
from tests.factories import GIB, make_instance
from tests.plan_rows import in_force

pytestmark = pytest.mark.django_db


def served(version: str, **fields: object) -> Instance:
    """Store a plan in force of one deployment, on a server of a version."""
    instance = make_instance()
    Instance.objects.update(version=version)
    instance.refresh_from_db()
    wanted = Deployment.objects.create(name="chat", model="qwen3:8b")
    in_force(instance, deployment=wanted, **fields)
    return instance


@pytest.mark.parametrize(
    ("version", "pin"), [("0.32.15", "rog/0"), ("0.24.0", None), ("", "rog/0")]
)
def test_what_lies_on_one_gpu_stays_there_where_ollama_can_be_told(
    version: str, pin: str | None
) -> None:
    served(version)
    stay = read_stays()["chat"]
    assert (stay.node, stay.pin, stay.ctx, stay.quant) == ("rog", pin, 8192, "Q4_K_M")


def test_what_lies_on_several_gpus_is_bound_to_none() -> None:
    served("0.32.15", bytes={"rog/0": GIB, "rog/1": GIB, "rog/cpu": GIB})
    assert read_stays()["chat"].pin is None


def test_what_is_wanted_otherwise_by_now_does_not_stay() -> None:
    served("0.32.15")
    wanted = Deployment.objects.get()
    wanted.ctx_wish = 65536
    wanted.save()
    assert read_stays() == {}
