"""OLLAMA_HOST as Ollama itself reads it."""

import pytest

from labdash.env import BadSetting
from labdash.runner.ollama_host import url_from_ollama_host

ANY = "0.0.0.0"  # noqa: S104 - what people write


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:11434"),
        (ANY, "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        (":8080", "http://127.0.0.1:8080"),
        ("rog.lan", "http://rog.lan:11434"),
        ("rog.lan:1234", "http://rog.lan:1234"),
        ("http://rog.lan", "http://rog.lan:80"),
        ("https://rog.lan", "https://rog.lan:443"),
        ("http://0.0.0.0:11434/", "http://127.0.0.1:11434"),
        ("[::]:11434", "http://[::1]:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1]", "http://[::1]:11434"),
        ('"0.0.0.0"', "http://127.0.0.1:11434"),
    ],
)
def test_what_a_server_listens_on_becomes_what_to_ask(given: str, url: str) -> None:
    assert url_from_ollama_host(given) == url


@pytest.mark.parametrize("given", ["ftp://x", "rog:0", "rog:port", "rog:70000"])
def test_what_cannot_be_asked_is_refused(given: str) -> None:
    with pytest.raises(BadSetting, match="OLLAMA_HOST="):
        url_from_ollama_host(given)
