"""What is read from a path and a range, both of which anybody may send."""

import random

import pytest

from workers.mirror.paths import BadRange, parse_range, parse_target

HEX = "a" * 64


def test_a_manifest_and_a_blob_are_told_apart() -> None:
    manifest = parse_target("/v2/secret/qwen3/manifests/8b-q4_K_M", agent="ollama/0.32")
    blob = parse_target(f"/v2/secret/qwen3/blobs/sha256-{HEX}")
    assert manifest
    assert (manifest.asked.namespace, manifest.asked.model) == ("secret", "qwen3")
    assert (manifest.tag, manifest.digest, manifest.asked.agent) == ("8b-q4_K_M", "", "ollama/0.32")
    assert blob
    assert blob.digest == f"sha256:{HEX}"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v2/",
        "/v2/secret/qwen3/blobs/sha256:../../../etc/passwd",
        f"/v2/secret/../blobs/sha256:{HEX}",
        f"/v2/secret/qwen3/blobs/sha256:{HEX}/..",
        f"/v2/secret/qwen3/blobs/sha256:{HEX.upper()}",
        f"/v2/secret/qwen3/blobs/sha256:{HEX}\n",
        "/v2/secret/qwen3/manifests/..",
        "/v2/secret/qwen3/manifests/%2e%2e",
        "/v2/.secret/qwen3/manifests/8b",
        f"/v2/{'n' * 81}/qwen3/manifests/8b",
        f"http://elsewhere/v2/secret/qwen3/blobs/sha256:{HEX}",
    ],
)
def test_what_names_nothing_is_nothing(path: str) -> None:
    assert parse_target(path) is None


def test_any_text_is_read_or_refused() -> None:
    dice = random.Random(5)  # noqa: S311 - a fixed one
    pieces = ["/", "..", "a", "manifests", "blobs", "sha256:", HEX, "\x00", "%2f", "ü", "\\"]
    for _ in range(5000):
        target = parse_target("/v2/" + "".join(dice.choices(pieces, k=dice.randint(1, 8))))
        assert target is None or "/" not in target.tag + target.asked.model


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=10-", (10, 100)),
        ("bytes=90-500", (90, 100)),
        ("bytes=-5", (95, 100)),
        ("bytes=-500", (0, 100)),
        ("bytes=99-99", (99, 100)),
    ],
)
def test_a_range_is_a_part(text: str, part: tuple[int, int]) -> None:
    assert parse_range(text, 100) == part


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes=",
        "bytes=-",
        "bytes=100-",
        "bytes=5-4",
        "bytes=-0",
        "bytes=0-1,5-6",
        "items=0-1",
        f"bytes={'9' * 5000}-",
    ],
)
def test_no_part_of_the_file_is_no_range(text: str) -> None:
    with pytest.raises(BadRange):
        parse_range(text, 100)


def test_any_range_lies_within_the_file() -> None:
    dice = random.Random(6)  # noqa: S311 - a fixed one
    for _ in range(5000):
        text = "".join(dice.choices("0123456789-", k=dice.randint(0, 12)))
        size_bytes = dice.randint(0, 10**9)
        try:
            start, stop = parse_range(f"bytes={text}", size_bytes)
        except BadRange:
            continue
        assert 0 <= start < stop <= size_bytes
