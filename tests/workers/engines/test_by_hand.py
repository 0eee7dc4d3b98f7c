"""Copies, new names and deletions by hand, on a simulated server over real HTTP."""

import threading
from collections.abc import Iterator

import pytest

from tests.simlab import OllamaLab, ollama_lab
from tests.workers.engines.name_bench import MODEL, NameBench
from tests.workers.stores import OwnStore, own_store
from workers.wire import NameOrder, NameProgress, name_cancel_key

COPY, OTHER = "labdash-before/llama3.2:1b", "qwen3:0.6b"


@pytest.fixture(scope="module")
def store_server() -> Iterator[OwnStore]:
    with own_store() as server:
        yield server


@pytest.fixture(scope="module")
def lab() -> Iterator[OllamaLab]:
    with ollama_lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def bench(lab: OllamaLab, store_server: OwnStore) -> Iterator[NameBench]:
    found = NameBench(lab.url, store_server)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _whole(bench: NameBench) -> None:
    for name in bench.names() - {MODEL, OTHER}:
        bench.client.request("DELETE", "/api/delete", json={"model": name})
    for name in (MODEL, OTHER):
        bench.post("/api/pull", model=name, stream=False).raise_for_status()


def do(
    bench: NameBench, act: str, model: str, target: str | None = None, **more: object
) -> NameProgress:
    bench.jobs += 1
    values = {"node": "rog", "job_id": bench.jobs, "instance_url": bench.url, "deadline_s": 60}
    given = {"act": act, "model": model, "target": target}
    order = NameOrder.model_validate(values | given | more)
    bench.namings.carry_out(order)
    reports = bench.server.reports("rog")
    return [r for r in reports if isinstance(r, NameProgress) and r.job_id == order.job_id][-1]


def digests(bench: NameBench) -> dict[str, str]:
    models = bench.client.get("/api/tags").json()["models"]
    return {each["name"]: each["digest"] for each in models}


def test_copy_has_the_same_digest_and_can_be_made_twice(bench: NameBench) -> None:
    digest = digests(bench)[MODEL]
    assert do(bench, "copy", MODEL, COPY, digest=digest).digest == digest
    assert do(bench, "copy", MODEL, COPY, digest=digest).phase == "done"
    assert digests(bench)[COPY] == digest


def test_what_was_changed_in_the_meantime_is_left_alone(bench: NameBench) -> None:
    end = do(bench, "copy", MODEL, COPY, digest="ab" * 32)
    assert (end.phase, COPY in bench.names()) == ("failed", False)
    assert end.meaning
    assert "changed in the meantime" in end.meaning


def test_copy_over_another_model_has_to_be_allowed_and_leaves_no_files(bench: NameBench) -> None:
    refused = do(bench, "copy", MODEL, OTHER)
    assert refused.meaning == (
        "qwen3:0.6b is another model on this server: delete it first, or take another name."
    )
    blob = bench.show(OTHER)["modelfile"].partition("/blobs/")[2][:71].replace("-", ":")
    assert bench.client.head(f"/api/blobs/{blob}").status_code == 200
    assert do(bench, "copy", MODEL, OTHER, replaces=True).phase == "done"
    assert digests(bench)[OTHER] == digests(bench)[MODEL]
    assert bench.names() == {MODEL, OTHER}
    assert bench.client.head(f"/api/blobs/{blob}").status_code == 404


def test_new_name_replaces_the_old_one_and_a_second_order_finds_it_done(bench: NameBench) -> None:
    bench.load(OTHER)
    assert do(bench, "rename", OTHER, "mine:latest").phase == "done"
    assert "mine:latest" in bench.names()
    assert OTHER not in bench.names() | set(bench.ps())
    assert do(bench, "rename", OTHER, "mine:latest").phase == "done"
    # Somebody else's doing: what stands there is not what was to get the name.
    told = do(bench, "rename", OTHER, "mine:latest", digest="0" * 64)
    assert told.meaning == f"{OTHER} is not on this server any more."


def test_deletion_unloads_first_and_needs_nothing_to_be_there(bench: NameBench) -> None:
    bench.load(OTHER, keep_s=-1)
    assert do(bench, "delete", OTHER).phase == "done"
    assert OTHER not in bench.names() | set(bench.ps())
    assert do(bench, "delete", OTHER).phase == "done"


def test_what_is_not_there_cannot_be_copied(bench: NameBench) -> None:
    assert do(bench, "copy", "gone:1b", COPY).meaning == "gone:1b is not on this server any more."


def test_order_that_was_taken_back_changes_nothing(bench: NameBench) -> None:
    bench.server.client.set(name_cancel_key("rog", bench.jobs + 1), 1)
    assert do(bench, "delete", OTHER).phase == "cancelled"
    assert OTHER in bench.names()


def test_worker_that_ends_says_so(bench: NameBench, monkeypatch: pytest.MonkeyPatch) -> None:
    ending = threading.Event()
    ending.set()
    monkeypatch.setattr(bench.namings, "_stopping", ending)
    monkeypatch.setattr(bench.telemetry.find("rog"), "find", lambda url: None)
    assert do(bench, "delete", OTHER).phase == "failed"


@pytest.mark.parametrize(
    "wrong",
    [
        {"act": "copy", "target": None},
        {"act": "delete", "target": "x"},
        {"act": "quantize", "target": "x"},
        {"act": "copy", "target": "x", "quant": "q8_0"},
        {"act": "copy", "target": "x", "digest": "short"},
    ],
)
def test_order_that_makes_no_sense_is_none(wrong: dict[str, object]) -> None:
    values = {"node": "rog", "job_id": 1, "instance_url": "http://h:1", "deadline_s": 1}
    with pytest.raises(ValueError, match="validation error"):
        NameOrder.model_validate(values | {"model": "m"} | wrong)


@pytest.mark.parametrize("act", ["copy", "rename"])
def test_a_name_in_other_letters_is_the_same_and_never_lost(bench: NameBench, act: str) -> None:
    end = do(bench, act, MODEL, MODEL.upper())
    assert (end.phase, "the same name" in (end.meaning or "")) == ("failed", True)
    assert MODEL in bench.names()
