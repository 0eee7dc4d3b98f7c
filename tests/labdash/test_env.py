"""Settings from the environment."""

from pathlib import Path

import pytest

from labdash.env import (
    BadSetting,
    choose_data_dir,
    data_dir,
    database_from_url,
    env_bool,
    env_list,
    env_str,
    store_socket,
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
