"""The supervisor, with small real processes."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from labdash.runner import logs
from labdash.runner.child import BACKOFF_MAX_S, HEALTHY_S, Child, Command, describe_exit
from labdash.runner.errors import CannotStart, Stopped
from labdash.runner.folder import hold
from labdash.runner.guard import Guard
from labdash.runner.supervisor import Supervisor
from tests.labdash.runner.test_logs import full_disk
from tests.processes import processes_of

SLEEP = "import time; time.sleep(600)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
# A child that has a child, as Celery's worker has beat.
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEP!r}, 'marked'])"


@dataclass
class Bench:
    supervisor: Supervisor
    folder: Path
    said: list[str] = field(default_factory=list)

    def start(self, name: str, code: str, *, last: bool = False) -> None:
        self.supervisor.start(command(name, code, last=last))

    def processes(self) -> list[int]:
        return list(processes_of(self.folder))


def command(name: str, code: str, *, last: bool = False) -> Command:
    argv = (sys.executable, "-c", code)
    return Command(name=name, argv=argv, environment=dict(os.environ), last=last)


def soon(condition: Callable[[], bool], supervisor: Supervisor | None = None) -> bool:
    deadline = time.monotonic() + 15
    while not condition():
        if time.monotonic() > deadline:
            return False
        if supervisor:
            supervisor.pause(0.05)
        time.sleep(0.02)
    return True


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    said: list[str] = []
    with hold(tmp_path, demo=False) as lock:
        supervisor = Supervisor(logs_dir=tmp_path / "log", guard=Guard(lock), say=said.append)
        yield Bench(supervisor, tmp_path, said)
        supervisor.end()
    assert processes_of(tmp_path) == {}


def test_a_child_that_dies_is_started_again_and_told(bench: Bench) -> None:
    bench.start("web", SLEEP)
    (first,) = bench.processes()
    os.kill(first, signal.SIGKILL)
    assert soon(lambda: bool(set(bench.processes()) - {first}), bench.supervisor)
    assert bench.said == ["web ended (SIGKILL); starting again in 1 s"]


def test_a_child_that_keeps_failing_is_shown_with_its_last_lines(bench: Bench) -> None:
    bench.start("web", "import sys; print('no such table', file=sys.stderr); sys.exit(3)")
    assert soon(lambda: len(bench.said) >= 5, bench.supervisor)
    assert bench.said[:3] == [
        f"web ended (exit 3); starting again in {pause_s} s" for pause_s in (1, 2, 4)
    ]
    assert bench.said[3] == "  | no such table"
    assert bench.said[-1] == f"  | all of it: {bench.folder / 'log' / 'web.log'}"


def test_a_child_whose_log_cannot_be_made_is_tried_again(bench: Bench) -> None:
    logs_dir = bench.folder / "log"
    bench.start("web", SLEEP)
    running = bench.processes()
    logs_dir.rename(bench.folder / "away")
    (first,) = running
    os.kill(first, signal.SIGKILL)
    bench.start("hub worker", SLEEP)
    reason = f"cannot be started ({logs_dir / 'hub-worker.log'}: No such file or directory)"
    assert bench.said == [f"hub worker {reason}; trying again in 1 s"]
    assert soon(lambda: f"hub worker {reason}; trying again in 2 s" in bench.said, bench.supervisor)
    logs_dir.mkdir()
    assert soon(lambda: len(bench.processes()) == 2, bench.supervisor)


def test_a_command_that_cannot_be_started_is_one_line(bench: Bench) -> None:
    absent = Command(name="prepare", argv=(str(bench.folder / "python"),), environment={})
    with pytest.raises(CannotStart, match=r"^prepare cannot be started \(.*python: No such file"):
        bench.supervisor.run_once(absent, timeout_s=10)


@pytest.mark.parametrize("room_bytes", [0, 6 * 2**20])
def test_logs_that_cannot_be_kept_short_do_not_end_the_supervisor(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, room_bytes: int
) -> None:
    monkeypatch.setattr("labdash.runner.supervisor.TRIM_EVERY_S", 0)
    bench.start("web", SLEEP)
    bench.start("hub worker", SLEEP)
    web, hub = (bench.folder / "log" / f"{name}.log" for name in ("web", "hub-worker"))
    os.truncate(web, 2 * logs.LIMIT_BYTES)
    os.truncate(hub, 2 * logs.LIMIT_BYTES)
    # What stands in the way of the copy cannot be removed either: the worst that trimming meets.
    (bench.folder / "log" / "web.log.1" / "x").mkdir(parents=True)
    with full_disk(room_bytes):
        bench.supervisor.pause(0.1)
    assert hub.stat().st_size == 0
    assert bench.said[0].startswith(f"a log cannot be kept short ({web}.1: ")
    assert len(bench.processes()) == 2


def test_what_a_dead_child_left_behind_is_ended_too(bench: Bench) -> None:
    bench.start("hub worker", PARENT)
    assert soon(lambda: len(bench.processes()) == 2)
    before = set(bench.processes())
    os.kill(min(before), signal.SIGKILL)
    assert soon(lambda: bool(bench.said), bench.supervisor)
    assert soon(lambda: before.isdisjoint(bench.processes()))


def test_the_end_takes_deaf_children_too_and_the_store_last(bench: Bench) -> None:
    order = bench.folder / "order"
    note = textwrap.dedent("""
        import signal, sys, time
        def end(*_):
            open({path!r}, "a").write({name!r} + "\\n")
            sys.exit()
        signal.signal(signal.SIGTERM, end)
        print("ready", flush=True)
        time.sleep(600)
    """)
    bench.start("store", note.format(path=str(order), name="store"), last=True)
    bench.start("web", note.format(path=str(order), name="web"))
    bench.start("deaf", DEAF)
    logs = [bench.folder / "log" / f"{name}.log" for name in ("store", "web")]
    assert soon(lambda: all(log.exists() and log.read_text() for log in logs))
    bench.supervisor.end()
    assert order.read_text().split() == ["web", "store"]
    assert bench.processes() == []


def test_a_child_runs_only_while_its_file_wants_it(bench: Bench, tmp_path: Path) -> None:
    wanted = tmp_path / "wanted"
    bench.supervisor.start(replace(command("cache", SLEEP), wanted=wanted))
    bench.supervisor.pause(0.05)
    assert bench.processes() == []
    for _ in range(2):
        wanted.touch()
        assert soon(lambda: len(bench.processes()) == 1, bench.supervisor)
        wanted.unlink()
        assert soon(lambda: not bench.processes(), bench.supervisor)
    assert bench.said == []


def test_a_pause_ends_when_the_end_is_asked_for(bench: Bench) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    bench.supervisor.end_on_signals()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            bench.supervisor.pause(60)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_one_off_commands_end_or_are_said_to_have_failed(bench: Bench) -> None:
    log = bench.supervisor.run_once(command("prepare", "print('{}')"), timeout_s=10)
    assert log.read_text() == "{}\n"
    with pytest.raises(CannotStart, match=r"prepare failed \(exit 1\): no way \(all of it: "):
        bench.supervisor.run_once(command("prepare", "exit('no way')"), timeout_s=10)
    with pytest.raises(CannotStart, match=r"^TZ=x: write another$"):
        bench.supervisor.run_once(
            command("prepare", "exit('labdash: TZ=x: write another')"), timeout_s=10
        )
    with pytest.raises(CannotStart, match=r"prepare did not end within 0.2 s"):
        bench.supervisor.run_once(command("prepare", SLEEP), timeout_s=0.2)


def test_the_guard_ends_everything_when_the_runner_is_killed(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        from pathlib import Path
        from labdash.runner.folder import hold
        from labdash.runner.guard import Guard
        from labdash.runner.supervisor import Supervisor
        from tests.labdash.runner.test_supervisor import DEAF, PARENT, command
        folder = Path({str(tmp_path)!r})
        with hold(folder, demo=False) as lock:
            supervisor = Supervisor(logs_dir=folder / "log", guard=Guard(lock), say=print)
            supervisor.start(command("hub worker", PARENT))
            supervisor.start(command("deaf", DEAF))
            supervisor.run()
    """)
    with subprocess.Popen([sys.executable, "-c", program]) as runner:  # noqa: S603 - the text above
        try:
            assert soon(lambda: len(processes_of(tmp_path)) == 3)
        finally:
            runner.kill()
    assert soon(lambda: not processes_of(tmp_path))
    # Its lock is held until then, so that a next start finds a clean place.
    with hold(tmp_path, demo=False):
        pass


def test_a_guard_that_was_killed_is_started_again_and_knows_all(bench: Bench) -> None:
    bench.start("web", SLEEP)
    guard = bench.supervisor._guard
    for each in ("hub worker", "node worker"):
        guard._process.kill()
        guard._process.wait()
        bench.start(each, SLEEP)
    # Not waited for: it is found dead only when it is written to.
    guard._process.kill()
    bench.start("store", SLEEP)
    assert guard._groups == set(bench.processes())


def test_the_pause_doubles_to_a_limit_and_starts_anew_after_a_healthy_minute(
    tmp_path: Path,
) -> None:
    child = Child(command=command("web", "exit(1)"), log=tmp_path / "web.log")
    pauses = [bury_at(child, started_at=0, now=1) for _ in range(7)]
    assert pauses == [1, 2, 4, 8, 16, BACKOFF_MAX_S, BACKOFF_MAX_S]
    assert bury_at(child, started_at=0, now=HEALTHY_S + 1) == 1


def bury_at(child: Child, *, started_at: float, now: float) -> float:
    child.start(started_at)
    assert soon(child.has_ended)
    return child.bury(now)[1]


def test_exits_are_described() -> None:
    assert describe_exit(3) == "exit 3"
    assert describe_exit(-9) == "SIGKILL"
