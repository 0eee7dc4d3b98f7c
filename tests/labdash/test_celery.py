"""The hub's Celery app."""

import ssl

import pytest

from labdash import tasks
from labdash.celery import BEAT, app, broker_url, tls
from labdash.live import store
from labdash.models import Attempt, Problem
from tests.factories import make_node
from workers import wire


@pytest.mark.parametrize(
    ("redis_url", "kombu_url"),
    [
        ("redis://:pw@10.0.0.1:6379/3", "redis://:pw@10.0.0.1:6379/3"),
        ("rediss://h/0", "rediss://h/0"),
        ("unix:///run/store.sock?db=0", "redis+socket:///run/store.sock?virtual_host=0"),
        ("unix:///run/store.sock?db=5", "redis+socket:///run/store.sock?virtual_host=5"),
        ("unix:///run/store.sock", "redis+socket:///run/store.sock?virtual_host=0"),
    ],
)
def test_the_address_of_the_store_is_translated_for_kombu(redis_url: str, kombu_url: str) -> None:
    assert broker_url(redis_url) == kombu_url


@pytest.mark.parametrize(
    ("url", "verified"),
    [
        ("rediss://h/0", {"ssl_cert_reqs": ssl.CERT_REQUIRED}),
        ("rediss://h/0?ssl_cert_reqs=none", {"ssl_cert_reqs": ssl.CERT_NONE}),
        ("redis://h/0", {}),
        ("unix:///run/store.sock", {}),
    ],
)
def test_the_certificate_of_a_store_is_checked_unless_its_address_says_otherwise(
    url: str, verified: dict[str, object]
) -> None:
    with app.connection_for_write(broker_url(url), ssl=tls(url)) as connection:
        assert connection.ssl == verified


def test_everything_in_the_beat_table_is_a_task() -> None:
    assert tasks.__name__ == "labdash.tasks"
    assert {task for task, _ in BEAT.values()} <= set(app.tasks)


def test_messages_are_json_acknowledged_early_and_leave_no_result() -> None:
    conf = app.conf
    assert (conf.task_serializer, conf.accept_content) == ("json", ["json"])
    assert (conf.task_acks_late, conf.task_ignore_result) == (False, True)
    assert conf.broker_connection_max_retries is None


@pytest.mark.django_db
def test_tasks_do_their_one_thing_each() -> None:
    make_node("rog")
    Attempt.objects.create(address="::1")
    for task, _ in BEAT.values():
        app.tasks[task]()
    assert [problem.code for problem in Problem.objects.all()] == ["node_never_seen"]
    assert store().exists(wire.spec_key("rog")) == 1


@pytest.mark.django_db
def test_tasks_end_well_while_the_store_is_down(dead_store: None) -> None:
    make_node("rog")
    for task, _ in BEAT.values():
        app.tasks[task]()
    assert [problem.code for problem in Problem.objects.all()] == ["store_down"]
