"""`deploy/up --install`: a systemd unit, so that LabDash outlives the terminal and a restart."""

import os
import pwd
import shlex
import subprocess
from pathlib import Path

from labdash.env import ROOT
from labdash.runner.config import SETTINGS, Config, read_config
from labdash.runner.errors import CannotStart
from labdash.runner.folder import is_held
from labdash.runner.options import DEFAULT_PORT, Options

SYSTEMD_RUNS = Path("/run/systemd/system")
SYSTEM_UNITS = Path("/etc/systemd/system")
TIMEOUT_S = 60
# What may hold its data; systemd passes over those that are not installed.
AFTER = (
    *("network-online.target", "postgresql.service", "redis.service", "redis-server.service"),
    *("valkey.service", "valkey-server.service"),
)


def install(options: Options, *, units: Path | None = None) -> list[str]:
    """Write the unit and its settings, start it where systemd runs, and return what to tell.

    ``units`` is where units go; None means systemd's own place.
    """
    config = read_config(options)
    if is_held(config.data_dir):
        raise CannotStart(f"LabDash runs for {config.data_dir}: end it there, then install it")
    owner = _owner(config.data_dir)
    settings = config.data_dir / "service.env"
    unit = (units or _units_folder()) / f"labdash{'-demo' if options.demo else ''}.service"
    try:
        _write_settings(settings, config, owner)
        unit.parent.mkdir(parents=True, exist_ok=True)
        unit.write_text(unit_text(config, settings=settings, owner=owner))
    except OSError as error:
        raise CannotStart(f"{error.filename}: {error.strerror}") from error
    return [
        f"Wrote {unit}",
        f"and the settings of this terminal to {settings}",
        *_enable(unit, config),
    ]


def _units_folder() -> Path:
    if os.getuid() == 0:
        return SYSTEM_UNITS
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def _owner(data_dir: Path) -> int:
    """Return whose LabDash it is: with sudo, it still runs as the owner of its folder."""
    return (data_dir if data_dir.exists() else ROOT).stat().st_uid


def unit_text(config: Config, *, settings: Path, owner: int) -> str:
    """Return the unit. What ends with 2, a wrong setting, is not started again."""
    system = os.getuid() == 0
    up = " ".join(_quoted(part) for part in (str(ROOT / "deploy" / "up"), *_arguments(config)))
    user = [f"User={_name_of(owner)}"] if system and owner != 0 else []
    lines = [
        "[Unit]",
        "Description=LabDash, the GPUs of a home lab",
        *(["Wants=network-online.target", f"After={' '.join(AFTER)}"] if system else []),
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart={up}",
        f"EnvironmentFile={_escaped(str(settings))}",
        *user,
        "Restart=on-failure",
        "RestartSec=5",
        "RestartPreventExitStatus=2",
        "KillMode=mixed",
        "TimeoutStopSec=15",
        "NoNewPrivileges=yes",
        "UMask=0077",
        "",
        "[Install]",
        f"WantedBy={'multi-user' if system else 'default'}.target",
    ]
    return "\n".join(lines) + "\n"


def _name_of(owner: int) -> str:
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(owner)


def _arguments(config: Config) -> list[str]:
    options = config.options
    return [
        *(["--host", options.host] if options.host else []),
        *(["--port", str(options.port)] if options.port != DEFAULT_PORT else []),
        *(["--tls"] if options.tls else []),
        *(["--tls-port", str(options.tls_port)] if options.tls_port else []),
        *(["--store-port", str(options.store_port)] if options.store_port else []),
        *(["--demo"] if options.demo else []),
        *([] if options.local_node else ["--no-local-node"]),
    ]


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """Quote a word of ExecStart, in which %, $ and backslash mean something."""
    inner = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{_escaped(inner)}"'


def _write_settings(path: Path, config: Config, owner: int) -> None:
    """Write this terminal's settings for the service, secrets included, for its owner alone."""
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in made:
        os.chown(folder, owner, -1)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)
    os.fchown(descriptor, owner, -1)
    with os.fdopen(descriptor, "w") as file:
        for name, value in sorted(_settings(config).items()):
            file.write(f"{name}={_shell_quoted(value)}\n")


def _settings(config: Config) -> dict[str, str]:
    found = {}
    for name, value in os.environ.items():
        base = name.removesuffix("_FILE")
        if base in {*SETTINGS, "OLLAMA_HOST"} or base.startswith("LABDASH_"):
            found[name] = str(Path(value).resolve()) if name.endswith("_FILE") else value
    return found | {"LABDASH_DATA_DIR": str(config.data_dir)}


def _shell_quoted(value: str) -> str:
    inner = value
    for special in '\\"$`':
        inner = inner.replace(special, f"\\{special}")
    return f'"{inner}"'


def _enable(unit: Path, config: Config) -> list[str]:
    user = os.getuid() != 0
    systemctl = ["systemctl", *(["--user"] if user else [])]
    watch = f"journalctl {'--user ' if user else ''}-u {unit.stem} -n 20"
    if not SYSTEMD_RUNS.is_dir():
        up = shlex.join([str(ROOT / "deploy" / "up"), *_arguments(config)])
        output = shlex.quote(str(config.data_dir / "up.log"))
        return [
            "systemd does not run here. This line starts LabDash so that it outlives the terminal:",
            f"  setsid -f {up} >{output} 2>&1",
        ]
    for verb in (["daemon-reload"], ["enable", "--now", unit.name]):
        _run([*systemctl, *verb])
    linger = ["So that it runs while you are signed out: loginctl enable-linger"] if user else []
    return [f"It runs, and starts with the machine. Its address: {watch}", *linger]


def _run(argv: list[str]) -> None:
    ended = subprocess.run(  # noqa: S603 - systemctl with words of this file
        argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if ended.returncode:
        said = " ".join(ended.stderr.split()) or f"exit {ended.returncode}"
        raise CannotStart(f"{' '.join(argv)} failed: {said}")
