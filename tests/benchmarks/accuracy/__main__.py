"""Hold the memory model against llama.cpp's own figures and loads of real cards, in the docs.

python -m tests.benchmarks.accuracy [--every N] [--print]
"""

import argparse
from pathlib import Path

from tests.benchmarks.accuracy import measured
from tests.benchmarks.accuracy.report import report

OUT = Path(__file__).parents[3] / "deploy" / "docs" / "accuracy.md"


def main() -> None:
    """Print the report; without ``--print`` and ``--every`` write it too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="take only each n-th run")
    parser.add_argument("--print", action="store_true", help="leave the docs as they are")
    options = parser.parse_args()
    text = f"{report(every=options.every)}\n{measured.report()}"
    print(text)  # noqa: T201 - a command
    if options.every == 1 and not options.print:
        OUT.write_text(text)


if __name__ == "__main__":
    main()
