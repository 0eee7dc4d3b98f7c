"""Settings from the environment."""

from pathlib import Path

import kombu
import pytest
import redis

from labdash.celery import broker_url
from labdash.env import (
    BadSetting,
    check_store_url,
    choose_data_dir,
    data_dir,
    database_from_url,
    env_bool,
    env_list,
    env_str,
    env_web_url,
    own_store_url,
    store_socket,
    time_zone,
)


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without the variables that these tests, or what they call, set."""
    for name in ("LABDASH_DATA_DIR", "LABDASH_DEMO", "DATABASE_URL", "REDIS_URL", "X", "X_FILE"):
        monkeypatch.setenv(name, "")


def test_a_value_comes_from_the_environment_or_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert env_str("X", "default") == "default"
    (tmp_path / "x").write_text("from a file\n")
    monkeypatch.setenv("X_FILE", str(tmp_path / "x"))
    assert env_str("X") == "from a file"
    monkeypatch.setenv("X", "from the environment")
    assert env_str("X") == "from the environment"


def test_a_file_that_cannot_be_read_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("X_FILE", "/absent")
    with pytest.raises(BadSetting, match=r"^X_FILE: cannot read /absent: No such file"):
        env_str("X")
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("X_FILE", str(tmp_path / "x"))
    with pytest.raises(BadSetting, match=r"holds no text$"):
        env_str("X")


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("TRUE", True), ("0", False)])
def test_words_for_yes_and_no_are_known(
    monkeypatch: pytest.MonkeyPatch, text: str, value: bool
) -> None:
    monkeypatch.setenv("X", text)
    assert env_bool("X", default=not value) is value


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "maybe")
    with pytest.raises(BadSetting, match=r"^X=maybe: write yes or no$"):
        env_bool("X", default=True)


def test_a_list_is_split_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", " a, b ,,c")
    assert env_list("X") == ["a", "b", "c"]


def test_address_of_a_web_server_is_taken_without_anything_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert env_web_url("LABDASH_X") is None
    monkeypatch.setenv("LABDASH_X", "https://models.lan:5000/")
    assert env_web_url("LABDASH_X") == "https://models.lan:5000"


@pytest.mark.parametrize(
    "text",
    ["models.lan", "ftp://a", "http://", "http://a/v2", "http://u:p@a", "http://a?b", "http://a b"],
)
def test_address_of_another_kind_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABDASH_X", text)
    with pytest.raises(BadSetting, match="LABDASH_X: write https://host"):
        env_web_url("LABDASH_X")


def test_without_an_address_the_database_is_sqlite(tmp_path: Path) -> None:
    database = database_from_url(None, tmp_path / "lab.sqlite3")
    assert (database["ENGINE"], database["NAME"]) == (
        "django.db.backends.sqlite3",
        tmp_path / "lab.sqlite3",
    )


def test_an_address_of_postgresql_is_taken_apart(tmp_path: Path) -> None:
    url = "postgresql://ann:p%40ss@db.lan:5433/lab?sslmode=require"
    database = database_from_url(url, tmp_path)
    shown = {key: database[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")}
    assert shown == {
        "NAME": "lab",
        "USER": "ann",
        "PASSWORD": "p@ss",
        "HOST": "db.lan",
        "PORT": "5433",
    }
    assert database["OPTIONS"] == {"connect_timeout": 5, "sslmode": "require"}


def test_a_socket_folder_may_be_the_host(tmp_path: Path) -> None:
    database = database_from_url("postgresql://ann@/lab?host=/run/pg", tmp_path)
    assert (database["HOST"], database["OPTIONS"]) == ("/run/pg", {"connect_timeout": 5})


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "postgresql://host", "postgresql://h:port/x", "postgresql://[::1/x", "x"]
)
def test_any_other_address_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"^DATABASE_URL: write postgresql://"):
        database_from_url(url, tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        *("redis://h", "redis://h/", "redis://h:6380/2", "redis://:p%40ss@[::1]:6379/0"),
        *("unix:///run/store.sock", "unix:///run/store.sock?db=3", "unix://:pw@/run/s.sock?db=0"),
        *(f"rediss://h/1?ssl_ca_certs={__file__}&ssl_cert_reqs=none&ssl_check_hostname=false",),
    ],
)
def test_an_address_of_a_store_that_is_taken_suits_all_who_use_it(url: str) -> None:
    assert check_store_url(url) == url
    # Nobody listens there: that, and nothing else, is what both find.
    with pytest.raises((redis.ConnectionError, OSError)):
        redis.Redis.from_url(url).ping()
    with pytest.raises((redis.ConnectionError, OSError)):
        kombu.Connection(broker_url(url)).channel()


@pytest.mark.parametrize(
    "url",
    [
        *(
            "redis://[x",
            "redis://..",
            "redis://h:x",
            "redis://h:99999",
            "redis://h:0",
            "redis:///0",
        ),
        *(
            "redis://h/abc",
            "redis://h/0/",
            "redis://h/-1",
            "redis://h/0#1",
            "redis://h/\N{DIGIT ONE}x",
        ),
        *("redis://h/0?db=1", "redis://h/0?socket_timeout=x", "redis://h/?ssl_cert_reqs=none"),
        *("rediss://h/?ssl_cert_reqs=never", "rediss://h/?ssl_ca_certs=/absent", "rediss://h/?x"),
        *("unix:///s?db=q", "unix:///s?db", "unix://", "unix:///", "unix://run/s", "unix:///s?x=1"),
        *(f"unix:///{'x' * 107}", "unix:///%00", "redis://h\n/0", "redis://:p ss@h", "h:6379", "x"),
    ],
)
def test_an_address_that_no_store_can_have_is_refused_in_a_line(url: str) -> None:
    with pytest.raises(BadSetting, match=r"^REDIS_URL: [^\n]+$"):
        check_store_url(url)


@pytest.mark.parametrize("given", [":Europe/Berlin", "Europe/Berlin", "{link}", ":{link}"])
def test_a_time_zone_may_be_written_as_the_system_writes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str
) -> None:
    link = tmp_path / "localtime"
    link.symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    monkeypatch.setenv("TZ", given.format(link=link))
    assert time_zone() == "Europe/Berlin"


def test_the_own_store_is_asked_with_the_password_that_the_start_wrote(tmp_path: Path) -> None:
    assert own_store_url(tmp_path) == f"unix://{store_socket(tmp_path)}?db=0"
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "password").write_text("a-secret\n")
    assert own_store_url(tmp_path) == f"unix://hub:a-secret@{store_socket(tmp_path)}?db=0"
    (tmp_path / "store" / "password").unlink()
    (tmp_path / "store" / "password").mkdir()
    with pytest.raises(BadSetting, match=r"password cannot be read: [^\n]+$"):
        own_store_url(tmp_path)


def test_the_demo_lies_inside_the_data_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LABDASH_DATA_DIR", str(tmp_path))
    assert (data_dir(demo=False), data_dir(demo=True)) == (tmp_path, tmp_path / "demo")
    monkeypatch.setenv("LABDASH_DATA_DIR", str(tmp_path / "demo"))
    assert data_dir(demo=True) == tmp_path / "demo"


def test_the_demo_never_touches_the_real_database_or_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LABDASH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql://x/y")
    monkeypatch.setenv("REDIS_URL", "redis://x")
    assert choose_data_dir(["manage.py", "status", "--demo"]) == ["manage.py", "status"]
    assert data_dir(demo=False) == tmp_path / "demo"
    assert (env_bool("LABDASH_DEMO", default=False), env_str("DATABASE_URL")) == (True, None)
    assert env_str("REDIS_URL") is None


def test_without_the_option_nothing_is_changed() -> None:
    assert choose_data_dir(["manage.py", "status"]) == ["manage.py", "status"]
    assert env_str("LABDASH_DEMO") is None


@pytest.mark.parametrize(
    ("folder", "inside"), [("/srv/lab", True), (f"/{'x' * 100}", False), ("/srv/my lab", False)]
)
def test_a_socket_lies_in_its_folder_where_its_path_can(folder: str, inside: bool) -> None:
    path = store_socket(Path(folder))
    assert path.is_relative_to(folder) is inside
    assert path == store_socket(Path(folder))
    assert path.name == "store.sock"
