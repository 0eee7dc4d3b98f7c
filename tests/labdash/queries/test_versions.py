"""What differs between what is here and what is published."""

from datetime import timedelta

import pytest

from labdash.queries.versions import (
    Difference,
    File,
    Here,
    There,
    difference,
    files_of,
    is_raw,
    is_too_old,
)
from tests.factories import WHEN

OLD, NEW = "a" * 64, "b" * 64
MODEL, TEMPLATE, PARAMS = "1" * 64, "2" * 64, "3" * 64
CONFIG = "4" * 64
FILES = (
    File("model", MODEL, 5000),
    File("template", TEMPLATE, 40),
    File("params", PARAMS, 10),
    File("config", CONFIG, 7),
)


def there(**changed: str) -> There:
    files = [File(f.kind, changed.get(f.kind, f.digest), f.bytes) for f in FILES]
    return There(digest=NEW, files=tuple(files))


def here(**fields: object) -> Here:
    values = {"digest": OLD, "weights": MODEL, "size_bytes": 5057, "files": FILES, **fields}
    return Here(**values)  # type: ignore[arg-type]


def seen(mine: Here, published: There, **fields: object) -> Difference:
    return difference(mine, published, present=(), **fields)  # type: ignore[arg-type]


def test_equal_digests_are_the_same_whatever_else_is_known() -> None:
    assert seen(here(digest=NEW, files=(), weights=""), there()).what == "same"


@pytest.mark.parametrize(
    ("changed", "what", "parts", "missing"),
    [
        ({}, "same", (), None),
        ({"model": "9" * 64}, "weights", ("weights",), 5000),
        ({"template": "9" * 64}, "texts", ("template",), 40),
        ({"params": "9" * 64, "config": "8" * 64}, "texts", ("description", "parameters"), 17),
        ({"model": "9" * 64, "params": "8" * 64}, "weights", ("weights", "parameters"), 5010),
    ],
)
def test_known_files_tell_exactly_what_changed_and_what_is_fetched(
    changed: dict[str, str], what: str, parts: tuple[str, ...], missing: int | None
) -> None:
    found = seen(here(), there(**changed))
    assert (found.what, found.parts, found.bytes) == (what, parts, missing)
    assert found.is_exact or missing is None


def test_files_that_the_server_has_for_another_name_are_not_fetched() -> None:
    published = there(model="9" * 64, template="8" * 64)
    found = difference(here(), published, present={"9" * 64})
    assert (found.what, found.bytes) == ("weights", 40)


def test_without_the_files_the_weights_tell_and_sizes_are_at_most() -> None:
    bare = here(files=())
    assert seen(bare, there(model="9" * 64)) == Difference(
        what="weights", parts=("weights",), bytes=5057
    )
    found = seen(bare, there(template="9" * 64))
    assert (found.what, found.parts, found.bytes, found.is_exact) == ("texts", (), 57, False)


def test_manifest_that_an_old_ollama_wrote_anew_is_no_other_version() -> None:
    old = here(files=(), is_raw=False)
    assert seen(old, there()).what == "same"
    assert seen(old, there(model="9" * 64)).what == "weights"
    # What takes more or less room is not only written down in another way.
    assert seen(here(files=(), is_raw=False, size_bytes=5056), there()).what == "texts"


def test_what_nobody_can_tell_is_unknown_and_never_outdated() -> None:
    found = seen(here(files=(), weights="", is_raw=False), there())
    assert (found.what, found.is_newer) == ("unknown", False)
    assert seen(here(files=(), weights=""), there()).is_newer


def test_model_in_many_files_counts_as_weights() -> None:
    mine = here(files=(File("tensor", "5" * 64, 9),), weights="")
    published = There(digest=NEW, files=(File("tensor", "6" * 64, 9),))
    assert seen(mine, published).parts == ("weights",)


@pytest.mark.parametrize(
    ("version", "raw"),
    [("0.18.9", False), ("0.19.0", True), ("0.32.15", True), ("0.0.0", True), ("", True)],
)
def test_servers_keep_manifests_from_019_on(version: str, raw: bool) -> None:
    assert is_raw(version=version, modified_at=WHEN) is raw
    assert not is_raw(version=version, modified_at=WHEN - timedelta(days=365))


@pytest.mark.parametrize(
    ("version", "requires", "old"),
    [
        ("0.32.15", "0.33", True),
        ("0.33.0-rc2", "0.33.0", False),
        ("0.32.15", "", False),
        ("", "0.40.0", False),
        ("0.0.0", "0.40.0", False),
        ("0.9.6", "v0.10.0", True),
    ],
)
def test_need_of_a_newer_ollama_is_told(version: str, requires: str, old: bool) -> None:
    assert is_too_old(version, requires) is old


def test_layers_are_read_in_whatever_way_they_were_stored() -> None:
    mine = files_of([[f"sha256:{MODEL}", 5, "application/vnd.ollama.image.model"]])
    assert mine == files_of([[MODEL, 5, "model"]])
    config = "application/vnd.docker.container.image.v1+json"
    assert files_of([[CONFIG, 7, config]])[0].kind == "config"
