"""The page of the hub's cache."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from labdash import live
from labdash.models import PullSettings
from tests.factories import GIB
from tests.labdash.views.polling import text_of
from tests.labdash.views.test_overview import bare
from workers.wire.caching import CachedModel, CacheState, drops_key, state_key

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _off() -> Iterator[None]:
    run = Path(settings.DATA_DIR) / "run"
    run.mkdir(exist_ok=True)
    yield
    (run / "cache-wanted").unlink(missing_ok=True)


def tell() -> None:
    models = (
        CachedModel(model="qwen3:8b", here_bytes=5 * GIB, total_bytes=5 * GIB, used_at=1),
        CachedModel(
            model="gemma3:4b",
            here_bytes=GIB,
            total_bytes=4 * GIB,
            used_at=1,
            is_arriving=True,
            bytes_per_s=10 * 2**20,
        ),
        CachedModel(
            model="no:1b", here_bytes=0, total_bytes=0, used_at=0, reason="404: no such tag"
        ),
    )
    state = CacheState(
        ports=(11481,),
        errors={"80": "this user may not open it"},
        used_bytes=6 * GIB,
        room_bytes=50 * GIB,
        upstream_bytes=6 * GIB,
        given_bytes=20 * GIB,
        saved_bytes=14 * GIB,
        since=1_700_000_000,
        models=models,
    )
    live.store().set(state_key(), state.model_dump_json())


def test_it_is_turned_on_and_off(page: Client) -> None:
    assert "Off Turn on With it on, the hub keeps" in bare(text_of(page.get("/pulls/cache/")))
    assert page.post("/pulls/cache/switch/?to=on").headers["Location"] == "/pulls/cache/"
    assert "Starting…" in text_of(page.get("/pulls/cache/"))
    page.post("/pulls/cache/switch/?to=off")
    assert PullSettings.read().cache is False


def test_it_tells_what_is_in_it_and_what_it_saved(page: Client) -> None:
    PullSettings.objects.create(pk=1, cache=True)
    tell()
    shown = bare(text_of(page.get("/pulls/cache/")))
    assert "In it 6.0 GiB of 200 GiB" in shown
    assert "Saved 14.0 GiB given a second time and more, measured" in shown
    assert "qwen3:8b whole 5.0 GiB" in shown
    assert "gemma3:4b arriving, 25 % at 10 MiB/s 1.0 GiB of 4.0 GiB" in shown
    assert "no:1b nothing yet 404: no such tag unknown not yet" in shown
    assert "port 80 of the hub cannot be opened, this user may not open it" in shown


def test_a_model_or_all_is_deleted(page: Client) -> None:
    PullSettings.objects.create(pk=1, cache=True)
    page.post("/pulls/cache/drop/?model=qwen3%3A8b")
    page.post("/pulls/cache/drop/")
    assert live.store().smembers(drops_key()) == {"qwen3:8b", "*"}


@pytest.mark.parametrize(
    ("size", "line"),
    [
        ("1", "Below 5 GiB no model fits."),
        ("x", "Write a whole number of GiB, such as 200."),
        ("", "Write a size in GiB, such as 200."),
    ],
)
def test_a_bad_limit_gets_a_line(page: Client, size: str, line: str) -> None:
    response = page.post("/pulls/cache/limit/", {"limit_gib": size})
    assert (response.status_code, line in text_of(response)) == (422, True)


def test_a_limit_is_stored(page: Client) -> None:
    page.post("/pulls/cache/limit/", {"limit_gib": "50"})
    assert PullSettings.read().cache_limit_bytes == 50 * GIB


def test_strangers_are_sent_to_sign_in(client: Client) -> None:
    assert client.post("/pulls/cache/drop/").status_code == 302
    assert not live.store().exists(drops_key())
