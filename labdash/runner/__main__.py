"""The program behind ``deploy/up``."""

import subprocess
import sys

from labdash.env import BadSetting
from labdash.runner.errors import CannotStart
from labdash.runner.install import install
from labdash.runner.options import Options, parse_options
from labdash.runner.reset import reset_owner
from labdash.runner.start import run, say

# A service starts again after the second alone: what a setting says stays wrong.
BAD_SETTING = 2
CANNOT_START = 3


def main() -> int:
    """Do what the command line says; returns the exit code, with a line on stderr if not 0."""
    options = parse_options(sys.argv[1:])
    try:
        return _do(options)
    except BadSetting as error:
        return _refuse(str(error), BAD_SETTING)
    except CannotStart as error:
        return _refuse(str(error), CANNOT_START)
    except subprocess.TimeoutExpired as error:
        return _refuse(f"{error.cmd[0]} did not end within {error.timeout:.0f} s", CANNOT_START)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _refuse(f"{place}{error.strerror or error}", CANNOT_START)


def _refuse(line: str, code: int) -> int:
    print(f"labdash: {line}", file=sys.stderr)  # noqa: T201 - this is the terminal program
    return code


def _do(options: Options) -> int:
    if not (options.install or options.reset_owner):
        return run(options)
    for line in install(options) if options.install else reset_owner(options):
        say(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
