"""Names become places of few registries, and addresses that lead elsewhere are not followed."""

from pathlib import PurePosixPath

import pytest

from workers.cache.addresses import SERVICES, BadAddress, address_at, address_of
from workers.cache.manifests import is_too_old, needed_version

OLLAMA = SERVICES["registry.ollama.ai"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("qwen3:8b", "registry.ollama.ai/library/qwen3/8b"),
        ("qwen3", "registry.ollama.ai/library/qwen3/latest"),
        ("user/model:x..y", "registry.ollama.ai/user/model/x..y"),
        ("registry.ollama.ai/library/qwen3:8b", "registry.ollama.ai/library/qwen3/8b"),
        ("huggingface.co/user/Model-GGUF:Q4_K_M", "hf.co/user/Model-GGUF/Q4_K_M"),
    ],
)
def test_a_name_is_a_place(name: str, path: str) -> None:
    address = address_of(name)
    assert str(address.path) == path
    assert address_at(address.path) == address
    assert address_of(address.shown) == address


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "a/b/c/d:e", "evil.example/user/model:1", "hf.co/model", ".x", "a b"]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(BadAddress):
        address_of(name)


@pytest.mark.parametrize("path", ["a/b/c", "registry.ollama.ai/library/.x.new/8b", "x/y/z/v"])
def test_what_is_no_path_of_a_manifest_is_refused(path: str) -> None:
    with pytest.raises(BadAddress):
        address_at(PurePosixPath(path))


@pytest.mark.parametrize(
    ("url", "is_followed"),
    [
        ("https://registry.ollama.ai/v2/x", True),
        ("https://REGISTRY.ollama.ai/v2/x", True),
        ("https://a1.r2.cloudflarestorage.com/x?sig=1", True),
        ("http://registry.ollama.ai/v2/x", False),
        ("https://registry.ollama.ai:8443/x", False),
        ("https://r2.cloudflarestorage.com.evil.example/x", False),
        ("https://evilr2.cloudflarestorage.com/x", False),
        ("https://u:p@registry.ollama.ai/x", False),
        ("https://127.0.0.1/x", False),
        ("https://[::1]/x", False),
        ("https://registry.ollama.ai:x/", False),
        ("", False),
    ],
)
def test_only_a_services_own_hosts_are_followed(url: str, *, is_followed: bool) -> None:
    assert OLLAMA.admits(url) is is_followed


@pytest.mark.parametrize(
    ("agent", "needed", "is_old"),
    [
        ("ollama/0.9.6 (amd64 linux) Go/go1.26", "0.30.0", True),
        ("ollama/0.30.0 (amd64 linux)", "0.30.0", False),
        ("ollama/0.30.1-rc2", "0.30.0", False),
        ("ollama/0.0.0", "later", False),
        ("curl/8", "0.30.0", False),
    ],
)
def test_an_ollama_that_is_too_old_is_known(agent: str, needed: str, *, is_old: bool) -> None:
    assert is_too_old(agent, needed) is is_old


@pytest.mark.parametrize(
    "config", [b"", b"[]", b"{}", b'{"requires": 5}', b"\xff" * 9, b"[" * 99999]
)
def test_a_config_that_asks_for_nothing_asks_for_nothing(config: bytes) -> None:
    assert needed_version(config) is None
