"""Pull jobs and installed models in the admin."""

import pytest
from django.test import Client

from labdash import live
from labdash.models import PullJob, PullState
from tests.factories import make_installed, make_instance, make_job, running_job
from workers import wire

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/labdash/pulljob/"


def act(page: Client, action: str, job: PullJob, **fields: object) -> str:
    """Run an action on a job and return the page that follows."""
    data = {"action": action, "_selected_action": str(job.pk), **fields}
    return page.post(LIST, data, follow=True).text


def test_a_job_is_added_as_on_the_page_of_pulls(page: Client) -> None:
    instance = make_instance()
    answer = page.post(f"{LIST}add/", {"instance": instance.pk, "model": "library/qwen3:8b"})
    assert answer.status_code == 302, answer.text
    job = PullJob.objects.get()
    assert (job.model, job.requested_by is not None) == ("qwen3:8b", True)


def test_adding_what_is_under_way_adds_nothing(page: Client) -> None:
    job = running_job()
    answer = page.post(f"{LIST}add/", {"instance": job.instance_id, "model": job.model})
    assert (answer.status_code, PullJob.objects.get()) == (302, job)


def test_a_bad_name_is_refused_beside_its_field(page: Client) -> None:
    answer = page.post(f"{LIST}add/", {"instance": make_instance().pk, "model": "a b"})
    assert "is no model name" in answer.text


def test_a_job_cannot_be_changed_by_hand(page: Client) -> None:
    job = running_job()
    assert page.post(f"{LIST}{job.pk}/change/", {"model": "other"}).status_code == 403


def test_jobs_are_cancelled_and_retried(page: Client) -> None:
    job = make_job()
    assert "Cancelling: 1." in act(page, "cancel", job)
    job.refresh_from_db()
    assert job.state == PullState.CANCELLED
    assert "Asked again: 1." in act(page, "retry", job)
    assert PullJob.objects.count() == 2


def test_a_job_that_was_installed_says_that_there_is_nothing_to_repeat(page: Client) -> None:
    text = act(page, "retry", make_job(state=PullState.INSTALLED))
    assert "Not done for qwen3:8b to rog/ollama: qwen3:8b was installed" in text


@pytest.mark.parametrize("way", ["page", "list"])
def test_a_deleted_job_is_stopped_first(page: Client, way: str) -> None:
    job = running_job()
    if way == "page":
        page.post(f"{LIST}{job.pk}/delete/", {"post": "yes"})
    else:
        act(page, "delete_selected", job, post="yes")
    assert not PullJob.objects.exists()
    assert live.store().exists(wire.cancel_key("rog", job.pk)) == 1


@pytest.mark.parametrize("way", ["page", "list"])
def test_a_job_that_cannot_be_stopped_is_not_deleted(
    page: Client, dead_store: None, way: str
) -> None:
    job = running_job()
    if way == "page":
        answer = page.post(f"{LIST}{job.pk}/delete/", {"post": "yes"}, follow=True).text
    else:
        answer = act(page, "delete_selected", job, post="yes")
    assert "cannot be stopped. Try again later." in answer
    assert PullJob.objects.get() == job


def test_installed_models_are_pulled_to_other_nodes(page: Client) -> None:
    row, there = make_installed(make_instance("rog")), make_instance("tower")
    url = "/admin/labdash/installedmodel/"
    data = {"action": "pull_to_nodes", "_selected_action": str(row.pk)}
    assert 'name="instances"' in page.post(url, data).text
    page.post(url, {**data, "pull_confirmed": "yes", "instances": [str(there.pk)]})
    job = PullJob.objects.get()
    assert (job.instance, job.model) == (there, "qwen3:8b")


def test_pulls_are_paused_and_resumed_by_actions(page: Client) -> None:
    job = make_job()
    assert "Pausing: 1." in act(page, "pause", job)
    assert PullJob.objects.get().held is True
    act(page, "resume", job)
    assert PullJob.objects.get().held is False
