"""The page of updates, and its buttons."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from labdash.models import Instance, PullSettings, Update, UpstreamHost, UpstreamTag
from tests.factories import make_instance, seen
from tests.labdash.update_rows import MODEL, NEW, OLD, copy_of, install, layers, publish

pytestmark = pytest.mark.django_db


@pytest.fixture
def rog() -> Instance:
    rog = make_instance("rog")
    seen()
    install(rog)
    publish()
    return rog


def body(client: Client) -> str:
    answer = client.get(reverse("pull_updates"))
    assert answer.status_code == 200
    return answer.content.decode()


def press(client: Client, name: str, *args: object, **query: object) -> int:
    url = reverse(name, args=args)
    return client.post(url, query_params=query, headers={"HX-Request": "true"}).status_code


def test_outdated_model_is_shown_with_what_changed_and_where(page: Client, rog: Instance) -> None:
    shown = body(page)
    for text in (MODEL, "new weights", "at most 5.0 GiB", "rog", "Update all now", "Tonight"):
        assert text in shown


def test_small_change_and_need_of_a_newer_ollama_are_told(page: Client, rog: Instance) -> None:
    install(rog, told=True)
    Instance.objects.update(version="0.32.15")
    publish(digest="c" * 64, files=layers(template="9" * 64), requires="0.40.0")
    shown = body(page)
    for text in ("only the template", "less than 1 MiB", "needs Ollama 0.40.0", "update it first"):
        assert text in shown
    assert "Update all now" not in shown


def test_empty_lab_says_so(page: Client) -> None:
    assert "Nothing is outdated" in body(page)


def test_update_is_begun_for_one_for_all_and_for_tonight(page: Client, rog: Instance) -> None:
    tower = make_instance("tower")
    install(tower)
    assert press(page, "update_begin", copy=copy_of(tower).installed.pk) == 204
    assert [row.instance for row in Update.objects.all()] == [tower]
    assert press(page, "update_begin", model=MODEL, when="tonight") == 204
    row = Update.objects.get(instance=rog)
    assert row.not_before_at is not None
    assert row.not_before_at > timezone.now() or row.not_after_at is not None
    assert press(page, "update_begin") == 422
    shown = body(page)
    assert "Under way" in shown
    assert "waits for its window" in shown


def test_update_that_cannot_be_is_refused_with_its_reason(page: Client, rog: Instance) -> None:
    Instance.objects.update(version="0.32.15")
    publish(digest="c" * 64, requires="0.40.0")
    url = reverse("update_begin")
    key = copy_of(rog).installed.pk
    answer = page.post(url, query_params={"copy": key}, headers={"HX-Request": "true"})
    assert answer.status_code == 422
    assert "needs Ollama 0.40.0" in answer.content.decode()


def test_version_is_kept_back_and_offered_again(page: Client, rog: Instance) -> None:
    assert press(page, "update_decline", model=MODEL) == 204
    shown = body(page)
    assert "Offer it again" in shown
    assert "Update all now" not in shown
    assert press(page, "update_offer", copy_of(rog).installed.pk) == 204
    assert copy_of(rog).standing == "newer"


def test_way_back_is_offered_while_there_is_one(page: Client, rog: Instance) -> None:
    row = Update.objects.create(
        instance=rog,
        model=MODEL,
        from_digest=OLD,
        to_digest=NEW,
        state="trying",
        kept_name="labdash-before/qwen3:8b",
    )
    assert "Go back" in body(page)
    assert press(page, "update_back", row.pk) == 204
    assert press(page, "update_back", row.pk) == 422
    Update.objects.update(state="trying")
    assert press(page, "update_settle", row.pk) == 204
    row.refresh_from_db()
    assert row.state == "done"
    assert press(page, "update_cancel", 999) == 404


def test_registry_that_is_down_is_told_and_what_it_said_stands(page: Client, rog: Instance) -> None:
    now = timezone.now()
    UpstreamHost.objects.create(
        host="registry.ollama.ai", error="cannot be reached", down_since=now, not_before_at=now
    )
    shown = body(page)
    assert "gives no answer since" in shown
    assert "new weights" in shown


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": "gone"}, "not published any more"),
        ({"state": "gone", "was_there": False, "manifest": None}, "not in the registry"),
        ({"state": "missing", "was_there": False, "manifest": None}, "asked again tomorrow"),
        ({"state": "closed", "manifest": None}, "signed-in users only"),
        ({"state": "new", "manifest": None}, "not asked yet"),
        ({"state": "new", "manifest": None, "error": "it is down"}, "not known yet: it is down"),
    ],
)
def test_what_is_not_known_is_told_and_never_taken_for_new(
    page: Client, rog: Instance, fields: dict[str, object], words: str
) -> None:
    UpstreamTag.objects.update(**fields)
    shown = body(page)
    assert words in shown
    assert "the newest" not in shown


def test_look_now_asks_for_what_is_old_enough(page: Client, rog: Instance) -> None:
    UpstreamTag.objects.update(next_at=timezone.now() + timedelta(hours=9))
    answer = page.post(reverse("updates_look"), headers={"HX-Request": "true"})
    assert "Asking now" in answer.content.decode()
    UpstreamTag.objects.update(checked_at=timezone.now())
    answer = page.post(reverse("updates_look"), headers={"HX-Request": "true"})
    assert "within the last hour" in answer.content.decode()


def test_switched_off_is_said_so(page: Client, rog: Instance) -> None:
    PullSettings(pk=1, check_updates=False).save()
    assert "switched off" in body(page)


@pytest.mark.parametrize("name", ["updates_look", "update_begin", "update_decline"])
def test_strangers_press_nothing(client: Client, rog: Instance, name: str) -> None:
    assert "sign-in" in client.post(reverse(name)).headers["Location"]
    assert "sign-in" in client.get(reverse("pull_updates")).headers["Location"]
