"""Hold the memory model against a real llama.cpp, and write the table to the docs.

python -m tests.benchmarks.engine [--print]
"""

import argparse
import sys
from pathlib import Path

from tests.benchmarks.engine.packages import MissingError
from tests.benchmarks.engine.report import compare, page

OUT = Path(__file__).parents[3] / "deploy" / "docs" / "engine.md"


def main() -> None:
    """Print the table; without ``--print`` write it too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", action="store_true", help="leave the docs as they are")
    options = parser.parse_args()
    try:
        text = page(list(compare()))
    except MissingError as error:
        sys.exit(str(error))
    print(text)  # noqa: T201 - a command
    if not options.print:
        OUT.write_text(text)


if __name__ == "__main__":
    main()
