"""Ten simulated machines with four GPUs each, in a process of their own.

``python -m tests.benchmarks.simulation FOLDER`` writes where they are when all their models are
loaded, as one line of JSON, and ends with its standard input.
"""

import asyncio
import json
import sys
from pathlib import Path

from workers.simlab.control import control_app
from workers.simlab.lab import Lab, Place
from workers.simlab.life import live
from workers.simlab.scenario import MachinePlan, StartLoad

NODES, GPUS = 10, 4
LOADED_EVERY_S = 0.2
MODELS = ("gemma3:12b", "qwen3:30b-a3b", "llama3.1:8b", "qwen3:8b")


def _loads() -> tuple[StartLoad, ...]:
    common = {"num_ctx": 16384, "num_batch": 512}
    return tuple(
        StartLoad(model=model, options={**common, "main_gpu": gpu})
        for gpu, model in enumerate(MODELS)
    )


def plans() -> list[MachinePlan]:
    """Return the machines: each GPU holds a model, and the first a desktop too."""
    return [
        MachinePlan(
            slug=f"node{number}",
            cards=("rtx-3090",) * GPUS,
            desktop_mib=412,
            environment={"OLLAMA_CONTEXT_LENGTH": "16384", "LLAMA_ARG_FIT": "off"},
            contexts=(16384,),
            installed=MODELS,
            loads=_loads(),
        )
        for number in range(NODES)
    ]


async def run(folder: Path) -> None:
    """Let the machines live until nobody listens any more."""
    lab = Lab(plans(), state_dir=folder, registry_bytes_per_s=None)
    await lab.start()
    url, control = await lab.serve_control(control_app(lab), 0)
    lives = [asyncio.create_task(live(place)) for place in lab.places.values()]
    while not all(map(_is_full, lab.places.values())):  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(LOADED_EVERY_S)
    sys.stdout.write(json.dumps(lab.describe(url)) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    for each in lives:
        each.cancel()
    await lab.stop()
    await control.cleanup()


def _is_full(place: Place) -> bool:
    return all(gpu.held for gpu in place.machine.gpus)


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1])))
