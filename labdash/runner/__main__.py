"""The program behind ``deploy/up``."""

import sys

from labdash.env import BadSetting
from labdash.runner.errors import CannotStart
from labdash.runner.options import parse_options
from labdash.runner.start import run


def main() -> int:
    """Do what the command line says; 2 and one line on stderr when that cannot be."""
    options = parse_options(sys.argv[1:])
    try:
        return run(options)
    except (BadSetting, CannotStart) as error:
        print(f"labdash: {error}", file=sys.stderr)  # noqa: T201 - this is the terminal program
        return 2


if __name__ == "__main__":
    sys.exit(main())
