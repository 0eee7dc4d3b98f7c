from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.workers.fake_ollama import FakeOllama, Refuse, fake_ollama
from workers.engines.base import EngineDown
from workers.engines.ollama import Ollama

BLOB = "ab" * 32
DIGEST = "c0" * 32


@pytest.fixture
def fake() -> Iterator[FakeOllama]:
    with fake_ollama() as fake:
        yield fake


@pytest.fixture
def engine(fake: FakeOllama) -> Ollama:
    return Ollama(fake.url)


def test_an_installed_model_is_described_by_its_tag_and_what_is_shown_of_it(
    fake: FakeOllama, engine: Ollama
) -> None:
    fake.install("qwen3:8b", DIGEST, BLOB)

    (model,) = engine.installed()

    assert (model.name, model.digest, model.size_bytes) == ("qwen3:8b", DIGEST, 5_225_388_164)
    assert model.modified_at == datetime(2026, 8, 20, 7, 14, 3, 512345, tzinfo=UTC)
    assert (model.format, model.architecture, model.quant) == ("gguf", "qwen3", "Q4_K_M")
    assert (model.parameter_size, model.parameter_count) == ("8.2B", 8_190_735_360)
    assert (model.context_length, model.block_count) == (40960, 36)
    assert (model.blob_digest, model.parent_model, model.is_cloud) == (BLOB, None, False)
    assert model.capabilities == ("completion", "tools", "thinking")


def test_a_derived_model_names_its_parent_and_shares_its_blob(
    fake: FakeOllama, engine: Ollama
) -> None:
    fake.install("qwen3:8b", DIGEST, BLOB)
    fake.install("qwen3-16k:latest", "c1" * 32, BLOB)
    fake.shown["qwen3-16k:latest"]["details"]["parent_model"] = "qwen3:8b"

    base, derived = engine.installed()

    assert (base.parent_model, derived.parent_model) == (None, "qwen3:8b")
    assert base.blob_digest == derived.blob_digest == BLOB


@pytest.mark.parametrize(
    "details",
    [
        {"remote_host": "https://ollama.com:443", "remote_model": "gpt-oss:120b"},
        {"name": "gpt-oss:120b-cloud"},
        {"name": "gpt-oss:cloud"},
    ],
)
def test_a_cloud_stub_is_marked_and_not_asked_about(
    fake: FakeOllama, engine: Ollama, details: dict[str, str]
) -> None:
    fake.install("gpt-oss:120b", DIGEST, BLOB)
    fake.tags[0] |= details
    fake.shown.clear()

    (model,) = engine.installed()

    assert (model.is_cloud, model.blob_digest) == (True, None)
    assert [path for path, _, _ in fake.calls] == ["/api/tags"]


ODD_TAGS: list[dict[str, object]] = [
    {"size": -1},
    {"size": 2**63},
    {"size": None},
    {"name": None},
    {"modified_at": "yesterday"},
]


@pytest.mark.parametrize("odd", ODD_TAGS, ids=str)
def test_one_odd_tag_costs_no_other(
    fake: FakeOllama, engine: Ollama, odd: dict[str, object]
) -> None:
    fake.install("odd:8b", "c1" * 32, BLOB)
    fake.install("qwen3:8b", DIGEST, BLOB)
    fake.tags[0] |= odd

    assert [model.name for model in engine.installed()] == ["qwen3:8b"]


@pytest.mark.parametrize(
    ("field", "value"), [("context_length", 2**40), ("block_count", -1), ("context_length", 10**30)]
)
def test_a_figure_that_makes_no_sense_is_unknown(
    fake: FakeOllama, engine: Ollama, field: str, value: int
) -> None:
    fake.install("qwen3:8b", DIGEST, BLOB)
    fake.shown["qwen3:8b"]["model_info"][f"qwen3.{field}"] = value

    (model,) = engine.installed()

    assert getattr(model, field) is None
    assert model.parameter_count == 8_190_735_360


def test_a_model_is_shown_once_for_each_digest(fake: FakeOllama, engine: Ollama) -> None:
    fake.install("qwen3:8b", DIGEST, BLOB)
    fake.install("copy:latest", DIGEST, BLOB)
    engine.installed()
    engine.installed()
    fake.tags[0]["digest"] = "c2" * 32
    engine.installed()

    assert [path for path, _, _ in fake.calls].count("/api/show") == 2


def test_a_model_that_cannot_be_shown_is_reported_by_its_tag(
    fake: FakeOllama, engine: Ollama
) -> None:
    fake.install("broken:latest", DIGEST, BLOB)
    fake.shown.clear()

    (model,) = engine.installed()

    assert (model.name, model.architecture, model.blob_digest) == ("broken:latest", "qwen3", None)


def test_the_blob_is_the_weights_and_not_the_projector(fake: FakeOllama, engine: Ollama) -> None:
    fake.install("llava:7b", DIGEST, BLOB)
    fake.shown["llava:7b"]["modelfile"] = (
        f"# FROM llava:7b\nFROM C:\\models\\blobs\\sha256-{BLOB}\nFROM /b/sha256-{'ee' * 32}\n"
    )

    (model,) = engine.installed()

    assert model.blob_digest == BLOB


@pytest.mark.parametrize(
    ("path", "store"),
    [
        (f"/srv/my models/blobs/sha256-{BLOB}", "/srv/my models"),
        (f"D:\\models\\blobs\\sha256-{BLOB}", "D:\\models"),
        ("qwen3:8b", None),
    ],
)
def test_the_store_is_the_folder_from_which_a_model_is_loaded(
    fake: FakeOllama, engine: Ollama, path: str, store: str | None
) -> None:
    fake.install("qwen3:8b", DIGEST, BLOB)
    fake.shown["qwen3:8b"]["modelfile"] = f"# Modelfile\nFROM {path}\n"
    before = engine.store()
    engine.installed()

    assert (before, engine.store()) == (None, store)


def test_figures_of_another_kind_keep_no_model_from_being_reported(
    fake: FakeOllama, engine: Ollama
) -> None:
    fake.install("qwen3:8b", DIGEST, BLOB)
    fake.shown["qwen3:8b"]["model_info"]["general.architecture"] = 3

    (model,) = engine.installed()

    assert model.architecture == "qwen3"


def test_loaded_models_have_their_sizes_and_ends(fake: FakeOllama, engine: Ollama) -> None:
    entry = {
        "name": "qwen3:8b",
        "model": "qwen3:8b",
        "size": 6_871_947_673,
        "digest": DIGEST,
        "details": {"parent_model": ""},
        "size_vram": 5_000_000_000,
        "context_length": 16384,
    }
    fake.running = [
        {**entry, "expires_at": "2026-08-20T09:24:11.1234567+02:00"},
        {**entry, "name": "forever", "expires_at": "2318-12-02T09:24:11.123456789Z"},
        {**entry, "name": "old", "size_vram": 0, "context_length": None},
    ]

    first, forever, old = engine.loaded()

    assert (first.size_bytes, first.size_vram_bytes) == (6_871_947_673, 5_000_000_000)
    assert first.context_length == 16384
    assert first.expires_at == datetime(2026, 8, 20, 7, 24, 11, 123456, tzinfo=UTC)
    assert forever.expires_at
    assert forever.expires_at.year == 2318
    assert (old.size_vram_bytes, old.context_length, old.expires_at) == (0, None, None)


def test_a_loaded_model_without_a_figure_for_its_gpus_is_unknown_there(
    fake: FakeOllama, engine: Ollama
) -> None:
    fake.running = [{"name": "m", "digest": DIGEST, "size": 10}]

    (model,) = engine.loaded()

    assert model.size_vram_bytes is None


def run(fake: FakeOllama, *names: str) -> None:
    fake.running = [{"name": name, "digest": DIGEST, "size": 10} for name in names]


def test_a_loaded_model_that_was_deleted_is_told(fake: FakeOllama, engine: Ollama) -> None:
    fake.install("qwen3:8b", DIGEST, BLOB)
    run(fake, "qwen3:8b", "gone:1b")

    assert [model.is_deleted for model in engine.loaded()] == [False, True]


def test_a_model_that_was_pulled_a_moment_ago_is_not_deleted(
    fake: FakeOllama, engine: Ollama
) -> None:
    engine.installed()
    fake.install("qwen3:8b", DIGEST, BLOB)
    run(fake, "qwen3:8b")

    assert [model.is_deleted for model in engine.loaded()] == [False]


def test_names_are_listed_anew_only_for_one_that_is_not_known(
    fake: FakeOllama, engine: Ollama
) -> None:
    fake.install("qwen3:8b", DIGEST, BLOB)
    run(fake, "qwen3:8b")
    engine.loaded()
    asked = len(fake.calls)
    engine.loaded()

    assert [path for path, _, _ in fake.calls[asked:]] == ["/api/ps"]


@pytest.mark.parametrize(
    ("version", "window", "leaves_out"),
    [
        ("0.32.15", 1024, True),
        ("0.0.0", 1024, True),
        ("0.33.0-rc2", None, False),
        ("0.24.0", 1024, False),
    ],
)
def test_sizes_of_a_sliding_window_lack_a_part_of_the_context(
    fake: FakeOllama, engine: Ollama, version: str, window: int | None, *, leaves_out: bool
) -> None:
    fake.version = version
    fake.install("gemma3:4b", DIGEST, BLOB)
    info = {"general.architecture": "gemma3", "gemma3.attention.sliding_window": window}
    fake.shown["gemma3:4b"]["model_info"] = info
    run(fake, "gemma3:4b")
    engine.version()
    engine.installed()

    assert [model.leaves_out_context for model in engine.loaded()] == [leaves_out]


def test_an_empty_server_may_answer_null(fake: FakeOllama, engine: Ollama) -> None:
    fake.tags = fake.running = None  # type: ignore[assignment]

    assert (engine.installed(), engine.loaded(), engine.digests()) == ((), (), frozenset())


def test_a_port_where_nothing_listens_is_refused(fake: FakeOllama) -> None:
    with pytest.raises(EngineDown) as caught:
        Ollama("http://127.0.0.1:1").version()

    assert (caught.value.state, caught.value.reason) == ("refused", "nothing listens on this port")


def test_a_name_that_nobody_knows_is_unreachable() -> None:
    with pytest.raises(EngineDown) as caught:
        Ollama("http://nobody.invalid:11434").version()

    assert caught.value.state == "unreachable"


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Refuse(500, '{"error":"broken"}'), 'it answered 500 {"error":"broken"}'),
        (Refuse(403), "it refuses requests under this host name (403); name it by its IP address"),
        (Refuse(200, "<html>"), "it does not answer like Ollama: "),
        (Refuse(200, '{"x": 1}'), "it does not answer like Ollama: version Field required"),
        (Refuse(200, "[]"), "it does not answer like Ollama: "),
    ],
)
def test_an_answer_that_is_no_ollamas_is_an_error_with_its_reason(
    fake: FakeOllama, engine: Ollama, failure: Refuse, reason: str
) -> None:
    fake.failures["/api/version"] = failure

    with pytest.raises(EngineDown) as caught:
        engine.version()

    assert caught.value.state == "error"
    assert caught.value.reason.startswith(reason)


def test_a_redirect_is_not_followed(fake: FakeOllama, engine: Ollama) -> None:
    fake.failures["/api/version"] = Refuse(307)

    with pytest.raises(EngineDown, match="it answered 307"):
        engine.version()
