"""Run the simulated lab, or give it a hand command: ``python -m workers.simlab --help``."""

import argparse
import asyncio
import contextlib
import json
import logging
import math
import signal
import sys
from pathlib import Path

from workers.simlab import ctl
from workers.simlab.control import control_app
from workers.simlab.lab import Lab, Place
from workers.simlab.life import live
from workers.simlab.log_control import add_log_routes
from workers.simlab.scenario import DEMO, REGISTRY_BYTES_PER_S
from workers.simlab.server_faults import add_fault_routes

EXAMPLES = """\
Play with it while it runs (the control URL is in the ready file, and is printed):
  python -m workers.simlab ctl --control-url URL lose rog 0
  python -m workers.simlab ctl --help
  curl URL/machines/rog/hardware
  curl -d '{"bytes_per_s": 5000000}' URL/registry/speed
"""


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; give the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["ctl"]:
        return ctl.main(given[1:])
    options = parser().parse_args(given)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    return asyncio.run(run(options))


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        prog="python -m workers.simlab",
        description="A whole lab on one machine: five simulated machines with GPUs, a fake Ollama "
        "server on each, and a fake model registry. Listens on 127.0.0.1 alone.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "--state-dir", type=Path, required=True, help="what is installed is kept here, and ports"
    )
    result.add_argument(
        "--control-port",
        type=int,
        default=0,
        help="port of the control API (0, the default: the one of the run before, or any)",
    )
    result.add_argument(
        "--ready-file", type=Path, help="written (JSON, as GET /lab) when all servers listen"
    )
    result.add_argument(
        "--registry-speed",
        type=_speed,
        default=REGISTRY_BYTES_PER_S,
        metavar="BYTES_PER_S",
        help="speed of the registry (default %(default)s; 0: no limit)",
    )
    result.add_argument(
        "--no-life", action="store_true", help="load nothing at start and ask no questions"
    )
    return result


def _speed(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError("a speed is 0 or more")
    return value


async def run(options: argparse.Namespace) -> int:
    """Start everything, say where it listens, and end everything on a signal."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    lab = Lab(
        DEMO, state_dir=options.state_dir, registry_bytes_per_s=options.registry_speed or None
    )
    await lab.start()
    app = control_app(lab)
    add_log_routes(app)
    add_fault_routes(app)
    try:
        url, control = await lab.serve_control(app, options.control_port)
    except OSError as error:
        sys.stderr.write(f"the control API cannot listen: {error}\n")
        await lab.stop()
        return 2
    _tell(lab.describe(url), options.ready_file)
    await _until(stopped, [] if options.no_life else list(lab.places.values()))
    await lab.stop()
    await control.cleanup()
    return 0


async def _until(stopped: asyncio.Event, places: list[Place]) -> None:
    """Let the machines live until the end is wanted."""
    async with asyncio.TaskGroup() as group:
        lives = [group.create_task(live(place)) for place in places]
        await stopped.wait()
        _cancel(lives)


def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


def _tell(description: dict[str, object], ready_file: Path | None) -> None:
    """Write the ready file in one step, so that nobody reads half of it."""
    text = json.dumps(description)
    sys.stdout.write(f"The simulated lab is controlled at {description['control_url']}\n")
    sys.stdout.flush()
    if ready_file:
        half = ready_file.with_suffix(".new")
        half.write_text(text)
        half.replace(ready_file)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
