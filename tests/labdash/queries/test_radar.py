"""Which names are older than what is published, as the rows tell it."""

from typing import Any

import pytest

from labdash.models import InstalledModel, Instance, Update, UpstreamTag
from labdash.queries.radar import names_to_ask, read_radar
from tests.factories import GIB, make_installed, make_instance
from tests.labdash.update_rows import (
    MODEL,
    NEW,
    NEW_WEIGHTS,
    OLD,
    copy_of,
    install,
    layers,
    publish,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def rog() -> Instance:
    return make_instance("rog")


def held(instance: Instance, **fields: Any) -> Update:
    values = {"state": "returned", "from_digest": OLD, "to_digest": NEW, **fields}
    return Update.objects.create(instance=instance, model=MODEL, **values)


def test_older_version_is_found_with_what_it_would_fetch(rog: Instance) -> None:
    install(rog)
    publish()
    found = copy_of(rog)
    assert (found.standing, found.is_free) == ("newer", True)
    assert found.difference
    assert (found.difference.parts, found.difference.bytes) == (("weights",), 5 * GIB + 100)
    assert not found.difference.is_exact


def test_server_that_tells_its_files_makes_it_exact(rog: Instance) -> None:
    install(rog, told=True)
    publish(files=layers(template="9" * 64))
    found = copy_of(rog).difference
    assert found
    assert (found.what, found.parts, found.bytes, found.is_exact) == (
        "texts",
        ("template",),
        60,
        True,
    )


def test_version_that_was_published_once_is_known_by_that(rog: Instance) -> None:
    publish("other:1b", digest=OLD, files=layers())
    install(rog)
    publish(files=layers(params="9" * 64))
    found = copy_of(rog).difference
    assert found
    assert (found.parts, found.bytes, found.is_exact) == (("parameters",), 40, True)


def test_same_digest_is_up_to_date_and_silence_is_not_known(rog: Instance) -> None:
    install(rog, digest=NEW)
    assert copy_of(rog).standing == "unknown"
    publish()
    assert copy_of(rog).standing == "same"
    UpstreamTag.objects.update(state="missing")
    assert copy_of(rog).standing == "same"
    UpstreamTag.objects.update(state="gone")
    assert copy_of(rog).standing == "unknown"


def test_manifest_that_an_old_ollama_wrote_is_compared_by_its_weights(rog: Instance) -> None:
    rog.version = "0.18.2"
    rog.save()
    install(rog)
    publish(files=layers())
    assert copy_of(rog).standing == "same"


def test_version_that_was_taken_back_is_held_until_a_newer_one_comes(rog: Instance) -> None:
    install(rog)
    publish()
    row = held(rog)
    assert (copy_of(rog).standing, copy_of(rog).held) == ("held", row)
    assert not copy_of(rog).is_free
    publish(digest="c" * 64)
    assert copy_of(rog).standing == "newer"


def test_need_of_a_newer_ollama_is_told_and_keeps_it_from_being_updated(rog: Instance) -> None:
    rog.version = "0.32.15"
    rog.save()
    install(rog)
    publish(requires="0.40.0")
    assert (copy_of(rog).needs, copy_of(rog).is_free) == ("0.40.0", False)


def test_model_made_from_another_is_compared_by_weights_alone(rog: Instance) -> None:
    install(rog, "mine:latest", digest="f" * 64, parent_model=MODEL)
    publish(files=layers(template="9" * 64))
    assert copy_of(rog, "mine:latest").standing == "same"
    publish(digest="c" * 64)
    found = copy_of(rog, "mine:latest")
    assert (found.standing, found.parent, found.is_free) == ("newer", MODEL, False)
    # A quant of it has other weights, whatever is published.
    InstalledModel.objects.update(size_bytes=9 * GIB)
    assert copy_of(rog, "mine:latest").standing == "unknown"


def test_model_that_was_only_given_options_is_still_itself(rog: Instance) -> None:
    install(rog, digest="f" * 64, parent_model=MODEL)
    publish()
    assert (copy_of(rog).parent, copy_of(rog).is_free) == ("", True)


def test_what_was_updated_to_on_a_neighbour_is_not_fetched_twice(rog: Instance) -> None:
    install(rog, told=True)
    install(rog, "kept:1b", digest="e" * 64, weights=NEW_WEIGHTS, told=True)
    publish()
    found = copy_of(rog).difference
    assert found
    assert (found.bytes, found.is_exact) == (0, True)


def test_names_are_asked_for_once_whatever_their_copies(rog: Instance) -> None:
    tower = make_instance("tower")
    for instance in (rog, tower):
        install(instance)
    install(rog, "mine:latest", parent_model=MODEL)
    install(rog, "labdash/chat:latest", parent_model=MODEL)
    install(rog, "labdash-before/qwen3:8b")
    install(rog, "nas:5000/library/x:1b")
    make_installed(rog, "gpt-oss:120b-cloud", is_cloud=True)
    assert names_to_ask() == {MODEL}
    assert [line.name for line in read_radar()] == ["mine:latest", "nas:5000/library/x:1b", MODEL]


def test_many_copies_take_no_more_queries(rog: Instance, django_assert_num_queries: Any) -> None:
    for number in range(4):
        install(make_instance(f"n{number}"), told=True)
        publish(f"m{number}:1b")
    with django_assert_num_queries(6):
        read_radar()
