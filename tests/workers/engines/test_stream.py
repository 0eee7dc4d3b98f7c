import time
from collections.abc import Iterator

import pytest

from tests.workers.fake_ollama import (
    MANIFEST,
    SUCCESS,
    VERIFYING,
    Cut,
    FakeOllama,
    Refuse,
    Repeat,
    Step,
    Wait,
    fake_ollama,
    layer,
)
from workers.engines.stream import End, Line, PullStream

DIGEST = "ab" * 32


@pytest.fixture
def fake() -> Iterator[FakeOllama]:
    with fake_ollama() as fake:
        yield fake


def pull(fake: FakeOllama, *script: Step) -> PullStream:
    fake.scripts["m"] = [list(script)]
    return PullStream(fake.url, "m", read_s=30)


def drain(stream: PullStream) -> tuple[list[Line], End]:
    lines: list[Line] = []
    while True:
        item = stream.next(wait_s=10)
        assert item is not None
        if isinstance(item, End):
            stream.join(wait_s=10)
            return lines, item
        lines.append(item)


def test_lines_arrive_as_they_were_sent_and_then_the_end(fake: FakeOllama) -> None:
    lines, end = drain(pull(fake, MANIFEST, layer(DIGEST, 100, 40), VERIFYING, SUCCESS))

    assert lines == [
        Line(status="pulling manifest"),
        Line(status="pulling abababababab", digest=f"sha256:{DIGEST}", total=100, completed=40),
        Line(status="verifying sha256 digest"),
    ]
    assert end == End(kind="success")


def test_an_error_line_in_a_good_answer_is_an_error(fake: FakeOllama) -> None:
    _, end = drain(pull(fake, MANIFEST, {"error": "digest mismatch"}))

    assert end == End(kind="error", text="digest mismatch")


def test_a_refused_request_keeps_its_status(fake: FakeOllama) -> None:
    _, end = drain(pull(fake, Refuse(400, '{"error": "invalid model name"}')))

    assert end == End(kind="error", text="invalid model name", status=400)


def test_an_end_without_success_is_no_success(fake: FakeOllama) -> None:
    _, end = drain(pull(fake, MANIFEST, layer(DIGEST, 100, 100)))

    assert end.kind == "closed"


def test_a_broken_connection_is_cut(fake: FakeOllama) -> None:
    lines, end = drain(pull(fake, MANIFEST, Wait(0.05), Cut()))

    assert (len(lines), end.kind) == (1, "cut")


def test_a_line_that_is_no_json_is_cut(fake: FakeOllama) -> None:
    _, end = drain(pull(fake, Refuse(200, "<html>\n")))

    assert end.kind == "cut"


@pytest.mark.parametrize("line", ["[1]", '"text"', "null", "7", '{"total": "much"}', "[" * 100_000])
def test_a_line_that_is_no_progress_is_cut(fake: FakeOllama, line: str) -> None:
    _, end = drain(pull(fake, Refuse(200, f"{line}\n")))

    assert end.kind == "cut"


class Dying(PullStream):
    """A stream whose reader ends without a word."""

    def _run(self) -> None:
        self._client.close()  # type: ignore[no-untyped-call]


def test_a_reader_that_is_dead_counts_as_an_end(fake: FakeOllama) -> None:
    stream = Dying(fake.url, "m", read_s=30)
    stream.join(wait_s=10)

    end = stream.next(wait_s=0)

    assert isinstance(end, End)
    assert end.kind == "cut"


def test_lines_that_come_after_one_has_left_are_not_kept(fake: FakeOllama) -> None:
    stream = pull(fake, MANIFEST, Repeat(layer(DIGEST), 20), layer(DIGEST, 100, 10), Wait(60))
    while not stream.is_headless:
        time.sleep(0.01)

    stream.leave()
    stream.join(wait_s=10)

    kept, _ = drain(stream)
    assert len(kept) < 10


def test_a_port_where_nothing_listens_is_refused() -> None:
    _, end = drain(PullStream("http://127.0.0.1:1", "m", read_s=30))

    assert end.kind == "refused"


@pytest.mark.parametrize("script", [[MANIFEST, VERIFYING, Wait(60)], [Wait(60)]])
def test_a_silent_answer_can_be_left_at_once(fake: FakeOllama, script: list[Step]) -> None:
    stream = pull(fake, *script)
    while not fake.pulls:
        time.sleep(0.01)

    stream.leave()
    stream.join(wait_s=5)

    assert stream.is_open is False
    while fake.pulls[0].ended_at is None:
        time.sleep(0.01)
    assert fake.pulls[0].left is True


def test_one_that_is_left_before_it_is_connected_ends_too(fake: FakeOllama) -> None:
    stream = pull(fake, MANIFEST, Wait(60))

    stream.leave()
    stream.join(wait_s=5)

    assert stream.is_open is False


def test_another_programs_pull_without_sizes_is_left_only_when_that_is_safe(
    fake: FakeOllama,
) -> None:
    headless = layer(DIGEST)
    stream = pull(fake, MANIFEST, Repeat(headless, 20), layer(DIGEST, 100, 10), Wait(60))
    while not stream.is_headless:
        time.sleep(0.01)

    stream.leave()
    stream.join(wait_s=0.3)
    was_open = stream.is_open
    stream.join(wait_s=10)

    assert (was_open, stream.is_open) == (True, False)
    assert stream.is_headless is False


def test_no_key_of_the_cloud_is_sent(fake: FakeOllama) -> None:
    drain(pull(fake, SUCCESS))

    _, payload, headers = fake.calls[0]
    assert payload == {"model": "m", "stream": True} | payload
    assert payload.get("insecure") in {None, False}
    assert "authorization" not in {name.lower() for name in headers}
