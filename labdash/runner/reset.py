"""`deploy/up --reset-owner`: a way back in when the owner's password is forgotten."""

import json
import subprocess

from labdash.runner import commands
from labdash.runner.config import read_config
from labdash.runner.errors import CannotStart
from labdash.runner.folder import is_held
from labdash.runner.listening import addresses
from labdash.runner.options import Options

TIMEOUT_S = 60


def reset_owner(options: Options) -> list[str]:
    """Make a one-time code and return what to tell: the code, and where it is entered."""
    config = read_config(options)
    if not config.data_dir.is_dir():
        raise CannotStart(f"{config.data_dir} holds no LabDash: start it first, with deploy/up")
    command = commands.manage(config, "reset_owner", "--json")
    ended = subprocess.run(  # noqa: S603 - our own manage.py
        command.argv,
        env=command.environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or [f"exit {ended.returncode}"]
        raise CannotStart(said[-1].removeprefix("labdash: "))
    told = json.loads(ended.stdout)
    place = f"{addresses(options.host, options.port)[0]}/reset/"
    when = "" if is_held(config.data_dir) else " (start LabDash first, with deploy/up)"
    return [
        f"One-time code: {told['reset_code']}",
        f"Enter it, with a new password for {told['username']}, at {place}{when}",
    ]
