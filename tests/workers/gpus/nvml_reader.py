"""Reads NVML once for each line on standard input and answers with JSON; run in a subprocess.

The library is chosen by LD_LIBRARY_PATH, which only counts for a process that starts with it.
"""

import json
import os
import sys
from pathlib import Path

from workers.backoff import Backoff
from workers.gpus.nvml import NvmlSource
from workers.gpus.processes import BlobNames
from workers.gpus.sleep import Rest


def main() -> None:
    """Answer until the input ends; ``blob NAME DIGEST`` tells of an installed model.

    ``loaded NAME…`` tells of loaded models, and ``rested`` ends a rest, after which the next may
    begin.
    """
    names = BlobNames()
    source = NvmlSource(names, devices=Path(os.environ["FAKE_PCI_DEVICES"]))
    # What is tried again after seconds is here tried again at the next reading.
    source._start_again = source._look_again = Backoff(first_s=0, most_s=0)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "blob":
            names.set_installed("ollama", {words[1]: words[2]})
            continue
        if words[0] == "loaded":
            names.set_loaded("ollama", words[1:])
            continue
        if words[0] == "rested":
            source._rest = Rest()
            continue
        driver, gpus = source.read()
        answer = {"driver": driver.model_dump(), "gpus": [gpu.model_dump() for gpu in gpus]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
