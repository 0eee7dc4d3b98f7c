"""The program behind ``deploy/up``."""

import errno
import sys

from labdash.env import BadSetting
from labdash.runner.errors import CannotStart
from labdash.runner.install import install
from labdash.runner.options import Options, parse_options
from labdash.runner.reset import reset_owner
from labdash.runner.start import run, say

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def main() -> int:
    """Do what the command line says; 2 (1: full disk) and a line on stderr when that cannot be."""
    options = parse_options(sys.argv[1:])
    try:
        return _do(options)
    except (BadSetting, CannotStart) as error:
        print(f"labdash: {error}", file=sys.stderr)  # noqa: T201 - this is the terminal program
        return 2
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        # 1, unlike a wrong setting: a service may try again, for room may come.
        place = f"{error.filename}: " if error.filename else ""
        print(f"labdash: {place}{error.strerror}", file=sys.stderr)  # noqa: T201 - as above
        return 1


def _do(options: Options) -> int:
    if not (options.install or options.reset_owner):
        return run(options)
    for line in install(options) if options.install else reset_owner(options):
        say(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
