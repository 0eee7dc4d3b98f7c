"""The systemd unit."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from labdash.env import ROOT
from labdash.runner import install as installing
from labdash.runner.__main__ import main
from labdash.runner.config import read_config
from labdash.runner.errors import CannotStart
from labdash.runner.folder import hold
from labdash.runner.install import install, unit_text
from labdash.runner.options import Options

ANALYZE = shutil.which("systemd-analyze") or ""


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LABDASH_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.delenv("REDIS_URL")
    monkeypatch.setattr(installing, "SYSTEMD_RUNS", tmp_path / "no-systemd")


@pytest.mark.skipif(not ANALYZE, reason="needs systemd-analyze")
@pytest.mark.parametrize("folder", ["var", "with space and 100%"])
def test_systemd_accepts_the_unit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str
) -> None:
    monkeypatch.setenv("LABDASH_DATA_DIR", str(tmp_path / folder))
    install(Options(host="::", port=9000, local_node=False), units=tmp_path)
    scope = [] if os.getuid() == 0 else ["--user"]
    verified = subprocess.run(  # noqa: S603 - the checker of systemd
        [ANALYZE, *scope, "verify", str(tmp_path / "labdash.service")],
        capture_output=True,
        text=True,
        check=False,
        # The checker of a user's units wants that user's run-time folder, which no login made.
        env={"XDG_RUNTIME_DIR": str(tmp_path), **os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    about_ours = [line for line in verified.stderr.splitlines() if "labdash" in line]
    assert (verified.returncode, about_ours) == (0, [])


def test_the_unit_starts_deploy_up_with_the_same_options(tmp_path: Path) -> None:
    install(Options(host="::", port=9000, demo=True, local_node=False), units=tmp_path)
    unit = (tmp_path / "labdash-demo.service").read_text().splitlines()
    up = ROOT / "deploy" / "up"
    started = f'ExecStart="{up}" "--host" "::" "--port" "9000" "--demo" "--no-local-node"'
    assert started in unit
    assert f"EnvironmentFile={tmp_path / 'var' / 'demo' / 'service.env'}" in unit


def test_words_that_mean_something_to_systemd_are_quoted() -> None:
    text = unit_text(
        read_config(Options(host='a"b$c%d\\e')), settings=Path("/x/100%/service.env"), owner=0
    )
    assert '"--host" "a\\"b$$c%%d\\\\e"' in text
    assert "EnvironmentFile=/x/100%%/service.env" in text


def test_settings_are_carried_over_for_the_owner_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("k" * 40)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LABDASH_SECRET_KEY")
    monkeypatch.setenv("LABDASH_SECRET_KEY_FILE", "key")
    monkeypatch.setenv("REDIS_URL", 'redis://:p"$`\\w@store.lan:6379/0')
    monkeypatch.setenv("UNRELATED", "x")
    install(Options(), units=tmp_path)
    path = tmp_path / "var" / "service.env"
    lines = path.read_text().splitlines()
    assert path.stat().st_mode & 0o777 == 0o600
    assert f'LABDASH_SECRET_KEY_FILE="{tmp_path / "key"}"' in lines
    assert 'REDIS_URL="redis://:p\\"\\$\\`\\\\w@store.lan:6379/0"' in lines
    assert not any(line.startswith("UNRELATED") for line in lines)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_owner_of_the_service(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(installing, "_owner", lambda _: 12345)
    monkeypatch.setenv("LABDASH_DATA_DIR", str(tmp_path / "srv" / "var"))
    install(Options(demo=True), units=tmp_path)
    demo = tmp_path / "srv" / "var" / "demo"
    made = [demo / "service.env", demo, demo.parent, demo.parent.parent]
    assert [path.stat().st_uid for path in made] == [12345] * 4
    unit = (tmp_path / "labdash-demo.service").read_text()
    assert "\nUser=12345\n" in unit
    assert "postgresql.service redis.service" in unit


def test_without_systemd_the_line_to_start_by_hand_is_told(tmp_path: Path) -> None:
    told = install(Options(port=9000), units=tmp_path)
    assert told[0] == f"Wrote {tmp_path / 'labdash.service'}"
    assert told[-2].startswith("systemd does not run here.")
    up, log = ROOT / "deploy" / "up", tmp_path / "var" / "up.log"
    assert shlex.split(told[-1]) == ["setsid", "-f", str(up), "--port", "9000", f">{log}", "2>&1"]


def test_with_systemd_the_service_is_enabled_and_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{systemctl.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(installing, "SYSTEMD_RUNS", tmp_path)
    told = install(Options(), units=tmp_path)
    scope = "" if os.getuid() == 0 else "--user "
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == [f"{scope}daemon-reload", f"{scope}enable --now labdash.service"]
    assert f"journalctl {scope}-u labdash" in told[2]


def test_a_failing_systemctl_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text("#!/bin/sh\necho 'Access denied' >&2\nexit 1\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{systemctl.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(installing, "SYSTEMD_RUNS", tmp_path)
    with pytest.raises(CannotStart, match="daemon-reload failed: Access denied"):
        install(Options(), units=tmp_path)


def test_it_is_refused_while_labdash_runs_in_that_folder(tmp_path: Path) -> None:
    with hold(tmp_path / "var", demo=False), pytest.raises(CannotStart, match="end it there"):
        install(Options(), units=tmp_path)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "labdash: systemctl: No such file or directory\n"),
        ("exec /bin/sleep 60", "labdash: systemctl did not end within 0 s\n"),
    ],
)
def test_a_systemctl_that_is_absent_or_hangs_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    script: str | None,
    said: str,
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    if script:
        (folder / "systemctl").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(installing, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(installing, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(installing, "_units_folder", lambda: tmp_path)
    monkeypatch.setattr("sys.argv", ["deploy/up", "--install"])
    assert (main(), capsys.readouterr().err) == (3, said)
