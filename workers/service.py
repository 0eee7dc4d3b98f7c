"""Keeps a machine's node worker running after it joined: as a service, or in this terminal."""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

SYSTEMD_RUNS = Path("/run/systemd/system")
UNIT = "labdash-node.service"
SYSTEMCTL_TIMEOUT_S = 60
# The worker's own exit code for a setting that cannot be used: to start it again helps nobody.
BAD_SETTING = 2
# A worker that ran so long was well: its next end is a first one.
HEALTHY_S = 60
BACKOFF_MAX_S = 30
TICK_S = 0.2


def main(argv: list[str]) -> int:
    """Write how to start the worker, start it as it is wished, and return the exit code."""
    options = _parser().parse_args(argv)
    folder: Path = options.folder
    try:
        launcher = write_launcher(folder)
        if options.how == "service" or (options.how is None and _wants_service()):
            return make_service(launcher)
    except OSError as error:
        sys.stderr.write(f"labdash: {error.filename}: {error.strerror}\n")
        return 1
    if options.how == "no-start":
        _say(f"Start it with {launcher}")
        return 0
    _say(f"It runs until Ctrl-C. Start it again with {launcher}")
    return keep_running(launcher)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.service", allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="where the node lives")
    how = parser.add_mutually_exclusive_group()
    for name, told in (
        ("service", "make it a systemd service; without root, one of this user"),
        ("foreground", "run it in this terminal"),
        ("no-start", "only write how to start it"),
    ):
        how.add_argument(f"--{name}", dest="how", action="store_const", const=name, help=told)
    return parser


def write_launcher(folder: Path) -> Path:
    """Write the program that starts the worker of ``folder``, and return it."""
    launcher = folder / "labdash-node"
    here = shlex.quote(str(folder))
    launcher.write_text(
        "#!/bin/sh\n"
        "# The node worker of this machine; Ctrl-C ends it.\n"
        "set -a\n"
        f". {here}/node.env\n"
        f"PYTHONPATH={here}/app\n"
        f'exec {here}/venv/bin/python -P -m workers "$@"\n'
    )
    launcher.chmod(0o700)
    return launcher


def _wants_service() -> bool:
    """Ask in the terminal: the program itself may come through a pipe."""
    if not SYSTEMD_RUNS.is_dir():
        return False
    try:
        with Path("/dev/tty").open("r+") as terminal:
            terminal.write("Make it a service that starts with this machine? [Y/n] ")
            terminal.flush()
            return terminal.readline().strip().lower() in {"", "y", "yes"}
    except OSError:
        return False


def make_service(launcher: Path, *, units: Path | None = None) -> int:
    """Write a systemd unit and start it, where systemd runs; return the exit code.

    ``units`` is where units go; None means systemd's own place for root or this user.
    """
    is_system = os.getuid() == 0
    unit = (units or _units_folder(is_system=is_system)) / UNIT
    unit.parent.mkdir(parents=True, exist_ok=True)
    unit.write_text(unit_text(launcher, is_system=is_system))
    unit.chmod(0o644)
    _say(f"Wrote {unit}")
    if not SYSTEMD_RUNS.is_dir():
        _say(f"systemd does not run here. This starts it: setsid -f {shlex.quote(str(launcher))}")
        return 0
    systemctl = ["systemctl", *([] if is_system else ["--user"])]
    for verb in (["daemon-reload"], ["enable", UNIT], ["restart", UNIT]):
        if reason := _failure([*systemctl, *verb]):
            sys.stderr.write(f"labdash: {' '.join(verb)}: {reason}\n")
            return 1
    _say("It runs, and starts with the machine.")
    if not is_system:
        _say("So that it runs while you are signed out: loginctl enable-linger")
    return 0


def _units_folder(*, is_system: bool) -> Path:
    if is_system:
        return Path("/etc/systemd/system")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "systemd" / "user"


def unit_text(launcher: Path, *, is_system: bool) -> str:
    """Return the unit of a node."""
    path = str(launcher).replace("\\", "\\\\").replace('"', '\\"')
    path = path.replace("$", "$$").replace("%", "%%")
    network = ["Wants=network-online.target", "After=network-online.target"] if is_system else []
    lines = [
        "[Unit]",
        "Description=LabDash, the node worker of this machine",
        *network,
        "",
        "[Service]",
        "Type=exec",
        f'ExecStart="{path}"',
        "Restart=always",
        "RestartSec=5",
        f"RestartPreventExitStatus={BAD_SETTING}",
        "TimeoutStopSec=15",
        "NoNewPrivileges=yes",
        "UMask=0077",
        "",
        "[Install]",
        f"WantedBy={'multi-user' if is_system else 'default'}.target",
    ]
    return "\n".join(lines) + "\n"


def _failure(argv: list[str]) -> str:
    """Run a command; return why it failed, or nothing."""
    try:
        ended = subprocess.run(  # noqa: S603 - systemctl with words of this file
            argv, capture_output=True, text=True, timeout=SYSTEMCTL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = (ended.stderr or ended.stdout).strip().splitlines()
    return (lines[-1] if lines else f"exit {ended.returncode}") if ended.returncode else ""


def keep_running(launcher: Path) -> int:
    """Run the worker, again after a failure, until this process is told to end."""
    end = _End()
    failures = 0
    while True:
        began = time.monotonic()
        code = end.run(launcher)
        if end.is_asked or code == BAD_SETTING:
            return 0 if end.is_asked else code
        failures = 1 if time.monotonic() - began >= HEALTHY_S else failures + 1
        pause_s = min(2 ** (failures - 1), BACKOFF_MAX_S)
        _say(f"The worker ended (exit {code}); starting again in {pause_s} s")
        deadline = time.monotonic() + pause_s
        while time.monotonic() < deadline:
            if end.is_asked:
                return 0
            time.sleep(TICK_S)


class _End:
    """The wish to end, by Ctrl-C, SIGTERM or a closed terminal; it is handed on to the worker."""

    def __init__(self) -> None:
        self.is_asked = False
        self._process: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask)

    def run(self, launcher: Path) -> int:
        """Run the worker to its end; in a session of its own, so that Ctrl-C reaches it once."""
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [str(launcher)], stdin=subprocess.DEVNULL, start_new_session=True
        )
        if self.is_asked:
            self._process.terminate()
        return self._process.wait()

    def _ask(self, *_: object) -> None:
        self.is_asked = True
        if self._process:
            self._process.terminate()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
