"""``manage.py prepare``."""

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.management import CommandError, call_command

from labdash.domain import access, preparing
from labdash.models import Instance, Node
from tests import bootstrap
from tests.factories import make_node
from tests.labdash.management.conftest import Run


def prepare(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Prepare the hub of this test and return what was printed."""
    call_command("prepare", "--json", *arguments)
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def urls(slug: str) -> list[str]:
    """Return the addresses of a node's servers."""
    return [row.url for row in Instance.objects.filter(node__slug=slug).order_by("name")]


def test_a_first_and_a_second_start(manage: Run, tmp_path: Path) -> None:
    folder = tmp_path / "var"
    node = ("--node", "rog=http://127.0.0.1:11434", "--kind", "linux")
    first = manage("prepare", "--json", *node)
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert re.fullmatch(r"([A-Z2-7]{4}-){3}[A-Z2-7]{4}", told["setup_code"])
    assert told["demo_account"] is None
    key = folder / "secret-key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "static" / "staticfiles.json").is_file()
    kept = key.read_text()
    second = manage("prepare", "--json", *node)
    assert second.returncode == 0, second.stderr
    assert key.read_text() == kept
    status = manage("status", "--json")
    assert [node["slug"] for node in json.loads(status.stdout)["nodes"]] == ["rog"]
    assert manage("makemigrations", "--check").returncode == 0
    assert manage("check").returncode == 0


def test_the_demo_has_a_folder_and_an_account_of_its_own(manage: Run, tmp_path: Path) -> None:
    first, second = (json.loads(manage("prepare", "--json", "--demo").stdout) for _ in range(2))
    assert first == second
    assert (first["setup_code"], first["demo_account"]["username"]) == (None, "demo")
    assert (tmp_path / "var" / "demo" / "labdash.sqlite3").is_file()
    assert not (tmp_path / "var" / "labdash.sqlite3").exists()


def test_a_folder_of_the_other_kind_is_refused(manage: Run, tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "kind").write_text("demo\n")
    done = manage("prepare")
    assert (done.returncode, done.stderr) == (
        2,
        f"labdash: {tmp_path}/var holds another kind of lab: choose another folder\n",
    )


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--node", "rog"), "--node rog: write SLUG=URL[,URL]"),
        (("--node", "R=http://x:1"), "R is no name for a node"),
        (("--node", "rog=x"), "x is no http or https address"),
        (("--node", "rog=http://x:1", "--kind", "amiga"), "amiga is no kind of node"),
        (("--kind", "linux"), "there are more --kind than --node"),
    ],
)
@pytest.mark.django_db
def test_nodes_that_cannot_be_are_refused(arguments: tuple[str, ...], part: str) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("prepare", *arguments)
    assert part in str(refused.value)
    assert refused.value.returncode == 2


@pytest.mark.django_db
def test_nodes_are_made_with_their_kinds_and_servers(capsys: pytest.CaptureFixture[str]) -> None:
    prepare(
        capsys,
        *("--node", "studio=http://127.0.0.1:1", "--kind", "mac"),
        *("--node", "rog=http://127.0.0.1:2,http://127.0.0.1:3"),
    )
    assert list(Node.objects.values_list("slug", "kind")) == [("rog", "linux"), ("studio", "mac")]
    assert urls("rog") == ["http://127.0.0.1:2", "http://127.0.0.1:3"]


@pytest.mark.django_db
def test_addresses_follow_the_start_but_not_over_the_owners_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare(capsys, "--node", "rog=http://127.0.0.1:1")
    Instance.objects.update(url="http://127.0.0.1:7")
    prepare(capsys, "--node", "rog=http://127.0.0.1:1")
    assert urls("rog") == ["http://127.0.0.1:7"]
    prepare(capsys, "--node", "rog=http://127.0.0.1:2")
    assert urls("rog") == ["http://127.0.0.1:2"]


@pytest.mark.django_db
def test_a_local_node_cannot_take_the_name_of_an_agentless_one() -> None:
    make_node("attic", agentless=True)
    with pytest.raises(CommandError, match="attic is an agentless node of this lab"):
        call_command("prepare", "--node", "attic=http://127.0.0.1:1")


@pytest.mark.django_db
def test_a_code_is_told_until_there_is_an_owner(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(capsys)["setup_code"] != prepare(capsys)["setup_code"]
    code = prepare(capsys)["setup_code"]
    access.make_owner(code=code, username="ann", password="a horse, a battery", address="::1")
    assert prepare(capsys)["setup_code"] is None


@pytest.mark.django_db
def test_the_form_for_people_tells_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("prepare")
    assert capsys.readouterr().out.splitlines()[1].startswith("Setup code: ")


@pytest.mark.django_db
def test_static_files_are_collected_again_only_after_a_change() -> None:
    preparing.prepare_static()
    manifest = settings.STATIC_ROOT / "staticfiles.json"
    before = manifest.stat().st_mtime_ns
    preparing.prepare_static()
    assert manifest.stat().st_mtime_ns == before
    (settings.STATIC_ROOT / ".collected").write_text("another version")
    preparing.prepare_static()
    assert manifest.stat().st_mtime_ns > before


def test_a_store_that_is_away_or_asks_for_another_password_is_one_line(
    manage: Run, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    process = bootstrap.start_store(tmp_path / "store")
    socket = tmp_path / "store" / "store.sock"
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            client.config_set("requirepass", "right")
        urls = [f"unix://:wr0ng@{socket}?db=0", f"unix://{socket}?db=0", "redis://127.0.0.1:1/0"]
        for url in urls:
            done = manage("prepare", REDIS_URL=url)
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
            assert "the store that REDIS_URL names does not serve us (" in done.stderr
            assert "wr0ng" not in done.stderr
        right = manage("prepare", REDIS_URL=f"unix://:right@{socket}?db=0")
        assert (right.returncode, right.stderr) == (0, "")
    finally:
        process.kill()
        process.wait()
