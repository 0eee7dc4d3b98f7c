"""Pull jobs on their page."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.timezone import localtime

from labdash.models import Node, PullJob, PullSettings, PullState
from labdash.queries import resting
from tests.labdash.views.polling import count_queries, parts, poll, text_of
from tests.labdash.views.sample_lab import add, five_nodes, gpu, pull, reading, sample
from tests.labdash.views.test_overview import bare

FORM = {"HX-Request": "true", "HX-Target": "pull-form"}
BUTTON = {"HX-Request": "true", "HX-Target": "cancel-1"}
pytestmark = pytest.mark.django_db


@pytest.fixture
def rog() -> Node:
    return add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading()]))


def test_page_tells_running_queue_and_history(page: Client) -> None:
    five_nodes()
    shown = bare(text_of(page.get("/pulls/")))
    assert "Running Pull gemma3:12b to tower" in shown
    assert "Queue An Ollama server pulls one model at a time" in shown
    assert "llama3.3:70b rog failed Not enough disk" in shown
    assert "qwen3:32b rog installed 18.8 GiB 26 min ago" in shown


def test_page_without_jobs_says_so(page: Client) -> None:
    shown = bare(text_of(page.get("/pulls/")))
    assert "Nothing is being pulled." in shown
    assert "No pull has ended yet." in shown
    assert "No node has an Ollama server yet." in shown


def test_name_in_the_address_fills_the_form(page: Client, rog: Node) -> None:
    assert 'value="qwen3:8b"' in text_of(page.get("/pulls/?model=qwen3:8b"))


def test_form_without_javascript_starts_a_pull_and_comes_back(page: Client, rog: Node) -> None:
    chosen = [str(rog.instances.get().pk)]
    response = page.post("/pulls/new/", {"model": "qwen3:8b", "instances": chosen})
    assert response.headers["Location"] == "/pulls/"
    job = PullJob.objects.get()
    assert (job.model, job.requested_by and job.requested_by.username) == ("qwen3:8b", "owner")


def test_form_is_empty_again_and_the_page_asks_for_progress(page: Client, rog: Node) -> None:
    shown = text_of(page.get("/pulls/"))
    chosen = [str(rog.instances.get().pk)]
    data = {"model": "qwen3:8b", "instances": chosen}
    response = page.post("/pulls/new/", data, headers=FORM)
    assert response.status_code == 200
    assert text_of(response).startswith('<form id="pull-form"')
    assert "qwen3:8b</b>" not in text_of(response)
    assert 'value="qwen3:8b"' not in text_of(response)
    assert response.headers["HX-Trigger"] == "tick"
    assert {"running", "queued"} & set(parts(text_of(poll(page, shown))))


def test_two_clicks_are_one_job(page: Client, rog: Node) -> None:
    data = {"model": "qwen3:8b", "instances": [str(rog.instances.get().pk)]}
    page.post("/pulls/new/", data)
    page.post("/pulls/new/", data)
    assert PullJob.objects.count() == 1


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("", "Write a model name, such as qwen3:8b."),
        ("https://ollama.com/x", "Leave out what ends with ://"),
        ("example.org/a/b", "is not a known source"),
        ("qwen3 8b", "is no model name"),
    ],
)
def test_name_with_a_slip_is_told_in_place(page: Client, rog: Node, model: str, words: str) -> None:
    data = {"model": model, "instances": [str(rog.instances.get().pk)]}
    response = page.post("/pulls/new/", data, headers=FORM)
    assert response.status_code == 422
    assert text_of(response).startswith('<form id="pull-form"')
    assert words in text_of(response)
    assert " checked" in text_of(response)
    whole = page.post("/pulls/new/", data)
    assert whole.status_code == 422
    assert words in text_of(whole)
    assert not PullJob.objects.exists()


def test_form_without_a_node_is_told_in_place(page: Client, rog: Node) -> None:
    response = page.post("/pulls/new/", {"model": "qwen3:8b"}, headers=FORM)
    assert "Choose at least one node." in text_of(response)


def test_button_with_a_bad_name_is_told_on_its_page(page: Client, rog: Node) -> None:
    data = {"model": "a b", "instances": [str(rog.instances.get().pk)]}
    response = page.post("/pulls/new/", data, headers={"HX-Request": "true"})
    assert response.status_code == 422
    assert parts(text_of(response)) == ["flash"]
    assert "is no model name" in text_of(response)


def test_cancel_answers_at_once_and_shows_in_place(page: Client, rog: Node) -> None:
    job = pull(rog, "qwen3:8b", state=PullState.DOWNLOADING, attempt=1)
    shown = text_of(page.get("/pulls/"))
    response = page.post(f"/pulls/{job.pk}/cancel/", headers=BUTTON)
    assert (response.status_code, response.headers["HX-Trigger"]) == (204, "tick")
    answer = text_of(poll(page, shown))
    assert "cancelling" in answer
    assert f'id="cancel-{job.pk}"' not in answer


def test_cancel_without_javascript_comes_back_to_its_page(page: Client, rog: Node) -> None:
    job = pull(rog, "qwen3:8b")
    assert page.post(f"/pulls/{job.pk}/cancel/", {"next": "/"}).headers["Location"] == "/"
    job.refresh_from_db()
    assert job.state == PullState.CANCELLED


def test_job_that_waits_is_paused_and_goes_on(page: Client, rog: Node) -> None:
    job = pull(rog, "qwen3:8b")
    shown = text_of(page.get("/pulls/"))
    assert page.post(f"/pulls/{job.pk}/pause/", headers=BUTTON).status_code == 204
    answer = text_of(poll(page, shown))
    assert f'id="resume-{job.pk}"' in answer
    assert "<span>paused by hand</span>" in answer
    assert page.post(f"/pulls/{job.pk}/resume/").headers["Location"] == "/pulls/"
    job.refresh_from_db()
    assert job.held is False


def test_pause_that_may_cost_bytes_says_so_before(page: Client, rog: Node) -> None:
    at = timezone.now()
    job = pull(
        rog, "qwen3:8b", state=PullState.DOWNLOADING, attempt=1, sent_at=at, heartbeat_at=at,
        done_bytes=3 * 2**30, total_bytes=5 * 2**30,
    )  # fmt: skip
    shown = text_of(page.get("/pulls/"))
    assert f'<details class="full ask" id="ask-{job.pk}">' in shown
    assert "A long pause may cost 3.0 GiB" in shown
    assert "OLLAMA_NOPRUNE=1" in shown
    rog.instances.update(declared_settings={"OLLAMA_NOPRUNE": "1"})
    shown = text_of(page.get("/pulls/"))
    assert "A long pause" not in shown
    assert f'id="pause-{job.pk}"' in shown


def test_pull_that_arrived_is_not_paused_and_says_why(page: Client, rog: Node) -> None:
    job = pull(rog, "qwen3:8b", state=PullState.VERIFYING, attempt=1, sent_at=timezone.now())
    response = page.post(f"/pulls/{job.pk}/pause/", headers=BUTTON)
    assert response.status_code == 422
    assert "there is nothing to pause" in text_of(response)


def test_order_of_a_queue_is_changed_by_buttons(page: Client, rog: Node) -> None:
    first, second = pull(rog, "a:1b"), pull(rog, "b:1b")
    shown = text_of(page.get("/pulls/"))
    assert re.search(rf'id="up-{first.pk}" aria-disabled="true"', shown)
    assert f"/pulls/{second.pk}/move/?to=0" in shown
    response = page.post(f"/pulls/{second.pk}/move/?to=0", headers=BUTTON)
    assert "b:1b is number 1 of its queue." in text_of(response)
    queue = text_of(page.get("/pulls/")).partition('id="queued"')[2]
    assert queue.index("b:1b") < queue.index("a:1b")


def test_what_waits_says_for_what(page: Client, rog: Node) -> None:
    soon = timezone.now() + timedelta(minutes=4, seconds=30)
    pull(rog, "a:1b", retry_at=soon, retries=2, reason="The registry is down.", attempt=3)
    pull(rog, "b:1b", not_before_at=soon, reason="Waits for its window.")
    pull(rog, "c:1b", state=PullState.PAUSED, rest_until_at=soon, reason=resting.PACED, attempt=1)
    late = pull(rog, "d:1b", not_after_at=soon - timedelta(hours=1), reason=resting.LATE)
    shown = text_of(page.get("/pulls/")).partition('id="queued"')[2]
    # Nothing else would ever let it go on.
    assert f'id="resume-{late.pk}"' in shown
    queue = bare(shown)
    assert "is tried again in 4 min The registry is down. failed 2 times" in queue
    assert f"waits until {localtime(soon):%a %H:%M}" in queue
    assert "paused, goes on in 4 min Rests, so that the speed limit holds on average." in queue


def test_running_pull_tells_its_limit_and_what_was_lost(page: Client, rog: Node) -> None:
    PullSettings.objects.create(pk=1, bytes_per_s=4 * 2**20)
    at = timezone.now()
    pull(rog, "a:1b", state="downloading", sent_at=at, heartbeat_at=at, lost_bytes=2 * 2**30)
    running = text_of(page.get("/pulls/")).partition('id="running"')[2]
    assert "limit 4.0 MiB/s on average: rests in between" in running
    assert "2.0 GiB had come and were deleted by Ollama" in running


def test_failed_job_can_be_tried_again(page: Client, rog: Node) -> None:
    job = pull(rog, "qwen3:8b", state=PullState.FAILED, reason="No space.")
    assert page.post(f"/pulls/{job.pk}/retry/").headers["Location"] == "/pulls/"
    assert PullJob.objects.active().count() == 1


def test_installed_job_is_not_repeated_and_says_why(page: Client, rog: Node) -> None:
    job = pull(rog, "qwen3:8b", state=PullState.INSTALLED)
    response = page.post(f"/pulls/{job.pk}/retry/", headers=BUTTON)
    assert response.status_code == 422
    assert "there is nothing to repeat" in text_of(response)
    assert "there is nothing to repeat" in text_of(
        page.post(f"/pulls/{job.pk}/retry/", follow=True)
    )


def test_job_that_does_not_exist_is_not_found(page: Client) -> None:
    assert page.post("/pulls/7/cancel/").status_code == 404
    for verb in ("retry", "pause", "resume", "move"):
        assert page.post(f"/pulls/7/{verb}/").status_code == 404


def test_job_of_a_silent_node_says_what_it_waits_for(page: Client) -> None:
    node = add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading()]), age_s=600)
    pull(node, "qwen3:8b")
    assert "rog does not answer; goes on when it is back" in text_of(page.get("/pulls/"))


def test_job_of_a_paused_node_says_what_it_waits_for(page: Client, rog: Node) -> None:
    Node.objects.update(paused=True)
    pull(rog, "qwen3:8b")
    assert "waits: rog is paused" in text_of(page.get("/pulls/"))


@pytest.mark.parametrize("state", [PullState.FAILED, PullState.CANCELLED, PullState.INSTALLED])
def test_history_tells_the_reason_of_any_end(page: Client, rog: Node, state: str) -> None:
    pull(rog, "qwen3:8b", state=state, reason="rog did not confirm it.", finished_at=timezone.now())
    ended = text_of(page.get("/pulls/")).partition('id="ended"')[2]
    assert "rog did not confirm it." in ended


@pytest.mark.parametrize(
    ("state", "age_s", "words", "absent"),
    [
        ("downloading", 1, "112 MiB/s", "no word"),
        ("downloading", 12, r"no word for 1\d s", "MiB/s"),
        ("downloading", 300, "no word for 5 min", "left"),
        ("verifying", 30, r"no word for 3\d s", "MiB/s"),
    ],
)
def test_running_pull_of_which_nothing_is_heard_says_so_in_place_of_its_speed(
    page: Client, rog: Node, state: str, age_s: int, words: str, absent: str
) -> None:
    at = timezone.now() - timedelta(seconds=age_s)
    pull(
        rog, "qwen3:8b", state=state, done_bytes=1, total_bytes=2, bytes_per_s=112 * 2**20,
        remaining_s=18, sent_at=at, heartbeat_at=at,
    )  # fmt: skip
    for url in ("/", "/pulls/", "/nodes/rog/"):
        job = text_of(page.get(url)).partition('class="figures"')[2].partition("</div>")[0]
        assert re.search(words, job)
        assert absent not in job


@pytest.mark.parametrize(
    ("paused", "age_s", "reason", "said"),
    [
        (False, 0.5, "", "waits for its turn"),
        (False, 0.5, "Waits for phi4: one at a time.", "Waits for phi4: one at a time."),
        (True, 0.5, "Waits: rog is paused.", "waits: rog is paused"),
        (False, 99, "Waits: rog is away.", "rog does not answer; goes on when it is back"),
    ],
)
def test_job_in_the_queue_says_once_what_it_waits_for(
    page: Client, paused: bool, age_s: float, reason: str, said: str
) -> None:
    node = add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading()]), age_s=age_s)
    Node.objects.update(paused=paused)
    pull(node, "qwen3:8b", reason=reason)
    figures = text_of(page.get("/pulls/")).partition('class="figures"')[2].partition("</div>")[0]
    assert re.findall(r"<span>(.*?)</span>", figures) == [said]


def test_reason_is_escaped(page: Client, rog: Node) -> None:
    pull(rog, "qwen3:8b", state=PullState.FAILED, reason="<script>alert(1)</script>")
    assert "<script>alert" not in text_of(page.get("/pulls/"))


def test_queries_do_not_grow_with_the_lab(page: Client) -> None:
    counts = []
    for slug in ("ant", "bee", "cat"):
        node = add(sample(slug, [gpu(slug, 0, "RTX 3090", 24)], [reading()]))
        pull(node, "qwen3:8b")
        pull(node, "qwen3:4b", state=PullState.FAILED)
        counts.append(count_queries(page, "/pulls/"))
    assert counts[0] == counts[2] <= 16


def test_a_reload_of_a_button_s_address_shows_the_page_and_pulls_nothing(
    page: Client, rog: Node
) -> None:
    job = pull(rog, "qwen3:8b")
    for url in (f"{job.pk}/cancel/", f"{job.pk}/retry/"):
        assert page.get(f"/pulls/{url}").headers["Location"] == "/pulls/"
    assert "qwen3:4b" in text_of(page.get("/pulls/new/?model=qwen3:4b&instances=1"))
    assert not PullJob.objects.get().cancel_requested
