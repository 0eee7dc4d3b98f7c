"""What a machine that joins asks for, and the pages around it."""

import ast
import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from labdash import node_files
from labdash.env import ROOT
from labdash.models import Node
from tests.labdash.views.polling import POLL, text_of

pytestmark = pytest.mark.django_db
FILES = ("/join/node.sh", "/join/files/node.tar.gz", "/join/files/wheels.json")


@pytest.mark.parametrize("path", [*FILES, "/join/files/x.whl"])
def test_nothing_that_runs_is_given_over_plain_http(stranger: Client, path: str) -> None:
    answer = stranger.get(path)
    assert (answer.status_code, answer.content[:24]) == (403, b"Machines join by HTTPS: ")
    assert stranger.post("/join/redeem/", {}, "application/json").status_code == 403


def test_the_script_knows_the_hub_by_how_it_was_reached(stranger: Client) -> None:
    script = text_of(stranger.get("/join/node.sh", secure=True, headers={"host": "10.0.0.5:8643"}))
    assert "export LABDASH_HUB='https://10.0.0.5:8643'\n" in script
    archive = stranger.get("/join/files/node.tar.gz", secure=True).content
    assert f"LABDASH_FILES_SHA256='{hashlib.sha256(archive).hexdigest()}'" in script


def test_the_archive_holds_the_worker_and_neither_the_hub_nor_the_simulation() -> None:
    with tarfile.open(fileobj=io.BytesIO(node_files.archive())) as files:
        names = files.getnames()
    assert {"workers/__main__.py", "deploy/node.lock", "deploy/uv.lock"} <= set(names)
    assert not [name for name in names if "simlab" in name or name.startswith("labdash")]


def test_the_program_runs_on_an_old_python_and_ends_no_here_document() -> None:
    program = (ROOT / "deploy" / "node" / "join.py").read_text()
    ast.parse(program, feature_version=(3, 8))
    assert "LABDASH_PROGRAM" not in program


@pytest.mark.parametrize("name", ["..%2Fnode.lock", "stamp", "absent.whl", ".whl"])
def test_only_packages_are_given(stranger: Client, name: str) -> None:
    assert stranger.get(f"/join/files/{name}", secure=True).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        *("", "[]", '"x"', "{}", '{"token": null}', '{"token": 1}', "\xff", '{"token": "\\ud800"}'),
        '{"token": "\\u0000", "hostname": "\\u0000", "ollama_urls": "\\ud800"}',
        f'{{"token": "{"x" * 100_000}"}}',
    ],
)
def test_a_request_without_a_token_is_one_line(stranger: Client, body: str) -> None:
    answer = stranger.post("/join/redeem/", body, "application/json", secure=True)
    assert answer.status_code == 403
    assert re.fullmatch(r"[^\n]+", answer.json()["error"])


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14)", "A Mac joins as an address for now"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64)", "A Windows machine joins as an address for now"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "A Linux machine joins by one line"),
        ("", "A Linux machine joins by one line"),
    ],
)
def test_the_page_tells_each_machine_how_it_joins(stranger: Client, agent: str, told: str) -> None:
    assert told in text_of(stranger.get("/join/", headers={"user-agent": agent}))


def test_a_mac_gets_the_form_filled_in(page: Client) -> None:
    shown = text_of(page.get("/join/", headers={"user-agent": "Macintosh"}))
    (link,) = re.findall(r'href="(/add-node/[^"]+)"', shown)
    form = text_of(page.get(link.replace("&amp;", "&")))
    assert 'value="http://127.0.0.1:11434"' in form
    assert '<option value="mac" selected>' in form


def test_the_address_of_a_mac_may_be_one_of_ipv6(page: Client) -> None:
    answer = page.get("/join/", headers={"user-agent": "Macintosh"}, REMOTE_ADDR="fd00::7")
    (link,) = re.findall(r'href="(/add-node/[^"]+)"', text_of(answer))
    assert 'value="http://[fd00::7]:11434"' in text_of(page.get(link.replace("&amp;", "&")))


def test_a_hub_without_a_door_adds_the_machine_and_says_why_nothing_joins(page: Client) -> None:
    answer = page.post("/add-machine/", {"slug": "attic"}, follow=True)
    assert "was not started by deploy/up" in text_of(answer)
    assert "Show a new line" in text_of(answer)
    assert Node.objects.get().slug == "attic"


def test_a_page_that_is_open_takes_no_line_away(
    page: Client, settings: Settings, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path
    Node.objects.create(slug="attic")
    session = page.session
    session["join_token"] = ["attic", "the-token"]
    session.save()
    assert "the-token" not in text_of(page.get("/nodes/attic/join/", headers=POLL))
    page.head("/nodes/attic/join/")
    assert "LABDASH_JOIN=&#x27;the-token&#x27;" in text_of(page.get("/nodes/attic/join/"))
    assert "the-token" not in text_of(page.get("/nodes/attic/join/"))


@pytest.mark.parametrize("slug", ["", "The Attic", "rog"])
def test_a_name_that_cannot_be_is_said_at_the_field(page: Client, slug: str) -> None:
    Node.objects.create(slug="rog")
    answer = page.post("/add-machine/", {"slug": slug})
    assert answer.status_code == 422
    assert "id_slug_error" in text_of(answer)


def test_the_sign_in_page_names_https_where_that_is_answered(
    stranger: Client, settings: Settings, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path
    (tmp_path / "run").mkdir()
    link = "https://testserver:8643/sign-in/?next=/nodes/"
    assert link not in text_of(stranger.get("/sign-in/?next=/nodes/"))
    told = {"ports": {"https": 8643, "store": None}, "errors": {}}
    (tmp_path / "run" / "door.json").write_text(json.dumps(told))
    assert link in text_of(stranger.get("/sign-in/?next=/nodes/"))
    assert link not in text_of(stranger.get("/sign-in/?next=/nodes/", secure=True))


@pytest.mark.parametrize(
    ("host", "is_told"),
    [
        ("192.168.1.2:8642", True),
        ("hub.lan", True),
        ("[fd00::7]:8642", True),
        ("localhost:8642", False),
        ("127.0.0.1", False),
        ("[::1]:8642", False),
    ],
)
def test_the_sign_in_page_says_that_it_is_plain_text_where_it_crosses_a_network(
    stranger: Client, host: str, is_told: bool
) -> None:
    for url in ("/sign-in/", "/sign-in/?next=/nodes/"):
        opened = text_of(stranger.get(url, headers={"Host": host}))
        assert opened.count("plain HTTP") == is_told
    assert "plain HTTP" not in text_of(stranger.get("/sign-in/", secure=True))
