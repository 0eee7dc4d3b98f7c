"""Tags that Ollama's library was seen to have."""

from labdash.catalog.files import read_json
from labdash.catalog.library import is_seen, tags_seen
from labdash.catalog.models import find_model, models


def test_every_model_of_the_library_has_its_tags_its_own_among_them() -> None:
    own = {each.ollama for each in models() if each.ollama}
    assert set(read_json("library_tags.json")["tags"]) == own
    assert not [tag for tag in own if tag not in tags_seen(tag)]


def test_every_tag_is_of_the_model_under_whose_tag_it_stands() -> None:
    strangers = {
        tag: own.name
        for own in models()
        if own.ollama and not own.ollama.endswith(("latest", "-q4_0", "-q4_K_M"))
        for tag in tags_seen(own.ollama)
        if find_model(tag).model.family != own.family
    }
    assert strangers == {}


def test_what_nobody_looked_for_has_none() -> None:
    assert tags_seen("zap:8b") == frozenset()
    assert not is_seen("qwen3:8b-bf16")
