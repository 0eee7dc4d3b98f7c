"""Reads NVML once for each line on standard input and answers with JSON; run in a subprocess.

The library is chosen by LD_LIBRARY_PATH, which only counts for a process that starts with it.
"""

import json
import sys

from workers.backoff import Backoff
from workers.gpus.nvml import NvmlSource
from workers.gpus.processes import BlobNames


def main() -> None:
    """Answer until the input ends; ``blob NAME DIGEST`` tells of an installed model."""
    names = BlobNames()
    source = NvmlSource(names)
    # What is tried again after seconds is here tried again at the next reading.
    source._start_again = source._look_again = Backoff(first_s=0, most_s=0)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "blob":
            names.set_installed("ollama", {words[1]: words[2]})
            continue
        driver, gpus = source.read()
        answer = {"driver": driver.model_dump(), "gpus": [gpu.model_dump() for gpu in gpus]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
