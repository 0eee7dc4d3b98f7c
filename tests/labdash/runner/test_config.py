"""Settings that the runner checks before it starts anything."""

from pathlib import Path

import pytest

from labdash.env import BadSetting, choose_data_dir, data_dir, store_socket
from labdash.runner import commands
from labdash.runner.config import Config, local_slug, read_config, slug_from
from labdash.runner.options import Options

GIVEN = ("DATABASE_URL", "REDIS_URL", "TZ", "OLLAMA_HOST")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in GIVEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LABDASH_DATA_DIR", str(tmp_path))


def read(*, demo: bool = False) -> Config:
    return read_config(Options(demo=demo))


def test_without_settings_the_store_is_our_own(tmp_path: Path) -> None:
    config = read()
    assert config.own_socket == store_socket(tmp_path)
    assert config.redis_url == f"unix://{config.own_socket}?db=0"
    assert config.ollama_urls == ("http://127.0.0.1:11434",)


def test_a_given_store_is_used_and_none_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "rediss://:secret@store.lan:6380/2")
    config = read()
    assert config.redis_url == "rediss://:secret@store.lan:6380/2"
    assert config.own_socket is None


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("REDIS_URL", "store.lan:6379", "REDIS_URL: write redis://"),
        ("REDIS_URL", "redis://", "REDIS_URL: write redis://"),
        ("REDIS_URL", "redis://store.lan:99999", "REDIS_URL: write redis://"),
        ("DATABASE_URL", "mysql://u@h/d", "DATABASE_URL: write postgresql://"),
        ("LABDASH_ALLOWED_HOSTS", "lab.lan,http://x", "'http://x' is not a host name"),
        ("TZ", "Mars/Olympus", "TZ=Mars/Olympus: write the name of a time zone"),
        ("TZ", "../../etc/passwd", "write the name of a time zone"),
        ("OLLAMA_HOST", "tcp://x:1", "OLLAMA_HOST=tcp://x:1: write host:port"),
        ("LABDASH_OLLAMA_URLS", "http://a:1,b:2", "LABDASH_OLLAMA_URLS: 'b:2'"),
        ("LABDASH_ALLOWED_HOSTS", "[zz]", "'[zz]' is not a host name"),
        ("LABDASH_ALLOWED_HOSTS", "a..b", "'a..b' is not a host name"),
        ("LABDASH_ALLOWED_HOSTS", "a-.b", "'a-.b' is not a host name"),
        ("TZ", ":Mars/Olympus", "TZ=:Mars/Olympus: write the name of a time zone"),
        ("TZ", "/etc/passwd", "TZ=/etc/passwd: write the name of a time zone"),
        ("TZ", "CET-1CEST", "TZ=CET-1CEST: write the name of a time zone"),
    ],
)
def test_a_wrong_setting_is_one_line_that_says_what_to_write(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSetting) as caught:
        read()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


WITH_ADDRESSES = ("DATABASE_URL", "LABDASH_ALLOWED_HOSTS", "LABDASH_OLLAMA_URLS", "OLLAMA_HOST")


@pytest.mark.parametrize("name", [*WITH_ADDRESSES, "REDIS_URL"])
@pytest.mark.parametrize(
    "value",
    [
        *("http://[x", "http://h:99999", "http://h:port", "http://h:0", "http://..", "http://h h"),
        *("redis://:s3c,r3t@[x", "http://ann:s3c,r3t@h:port", "ann:s3c#r3t@h", "s3c@r3t\nx"),
        *(f"http://{'x' * 64}", f"http://{'x.' * 150}x", "http://\udcff", "http://a|b"),
    ],
)
def test_no_wrong_address_is_more_than_a_line_or_tells_a_password(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSetting) as caught:
        read()
    told = str(caught.value)
    assert told.startswith(name)
    assert told.isprintable()
    assert not [part for part in ("s3c", "r3t") if part in told]


@pytest.mark.parametrize("url", ["http://[::1]:11434/", "https://rog.lan", "http://my_pc:1"])
def test_the_addresses_of_ollama_are_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("LABDASH_OLLAMA_URLS", url)
    assert read().ollama_urls == (url.rstrip("/"),)


def test_a_setting_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://store.lan:6379/0\n")
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "url"))
    config = read()
    assert config.redis_url == "redis://store.lan:6379/0"
    assert "REDIS_URL_FILE" not in config.environment()


def test_node_workers_get_no_secrets_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@db.lan/labdash")
    monkeypatch.setenv("LABDASH_SECRET_KEY", "s" * 40)
    config = read()
    assert config.environment()["DATABASE_URL"] == "postgresql://u:p@db.lan/labdash"
    assert config.environment()["LABDASH_SECRET_KEY"] == "s" * 40
    assert {"DATABASE_URL", "LABDASH_SECRET_KEY"}.isdisjoint(config.environment(hub=False))


def test_the_cache_has_a_port_of_its_own_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABDASH_CACHE_PORT", "11999")
    command = commands.cache(read(), upstream=None)
    assert command.argv[1:3] == ("-m", "workers.cache")
    assert command.argv[-2:] == ("--port", "11999")
    assert not {"DATABASE_URL", "LABDASH_SECRET_KEY"} & set(command.environment)
    assert not command.is_wanted
    monkeypatch.setenv("LABDASH_CACHE_PORT", "x")
    with pytest.raises(BadSetting, match="LABDASH_CACHE_PORT=x: write a port"):
        read()


def test_the_demo_asks_its_own_registry_from_its_own_cache() -> None:
    command = commands.cache(read(demo=True), upstream="http://127.0.0.1:5")
    assert command.argv[1:3] == ("-m", "workers.simlab.cache")
    assert command.argv[-4:] == ("--host", "127.0.0.1", "--upstream", "http://127.0.0.1:5")


def test_the_demo_uses_neither_the_real_database_nor_the_real_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@db.lan/labdash")
    monkeypatch.setenv("REDIS_URL", "redis://store.lan:6379/0")
    config = read(demo=True)
    assert config.data_dir == tmp_path / "demo"
    assert config.own_socket is not None
    assert "DATABASE_URL" not in config.environment()


def test_manage_py_finds_the_same_demo_as_the_runner(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://store.lan:6379/0")
    assert choose_data_dir(["manage.py", "status", "--demo"]) == ["manage.py", "status"]
    assert data_dir(demo=False) == read(demo=True).data_dir
    with pytest.raises(KeyError):
        monkeypatch.delenv("REDIS_URL")


def test_a_long_or_odd_folder_has_its_socket_under_tmp(tmp_path: Path) -> None:
    long = store_socket(tmp_path / ("x" * 120))
    odd = store_socket(tmp_path / "with space")
    assert long.parts[1] == odd.parts[1] == "tmp"
    assert long != odd
    assert len(str(long)) <= 100


@pytest.mark.parametrize(
    ("hostname", "slug"),
    [
        ("Rog", "rog"),
        ("my_pc.lan", "my-pc"),
        ("localhost", "hub"),
        ("-", "hub"),
        ("x" * 60, "x" * 50),
    ],
)
def test_a_node_is_named_after_its_machine(hostname: str, slug: str) -> None:
    assert slug_from(hostname) == slug


def test_the_local_node_keeps_its_name_when_the_machine_gets_another(tmp_path: Path) -> None:
    assert local_slug(tmp_path, "rog") == "rog"
    assert local_slug(tmp_path, "tower") == "rog"


def test_a_named_local_node_must_be_a_slug(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LABDASH_NODE", "My Node")
    with pytest.raises(BadSetting, match="LABDASH_NODE=My Node: write small letters"):
        local_slug(tmp_path, "rog")


def test_the_name_that_is_listened_on_is_answered_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABDASH_ALLOWED_HOSTS", "lab.example")
    told = [
        read_config(Options(host=host)).environment()["LABDASH_ALLOWED_HOSTS"]
        for host in (None, "192.0.2.1", "box.example")
    ]
    assert told == ["lab.example", "lab.example", "lab.example,box.example"]


def test_the_hubs_processes_are_told_on_which_address_alone_it_listens() -> None:
    assert read_config(Options(host="192.168.1.7")).environment()["LABDASH_HOST"] == "192.168.1.7"
    assert read_config(Options()).environment()["LABDASH_HOST"] == ""
