"""``labdash-node``: serves one machine, or all agentless nodes, until it is told to end."""

import argparse
import logging
import os
import sys
import threading
import warnings

from celery.platforms import SecurityWarning
from celery.signals import worker_shutting_down

from workers.app import make_app, make_worker
from workers.config import WORKER_VERSION, BadConfig, NodeConfig
from workers.engines.clearing import Clearings
from workers.engines.find import Finder
from workers.engines.loads import Loads
from workers.engines.namings import Namings
from workers.engines.pulls import Pulls
from workers.engines.try_out import Tries
from workers.mirror.sharing import Sharing
from workers.store import Store
from workers.subnets import plan_own, plan_simulated
from workers.tasks import (
    add_clear_task,
    add_find_task,
    add_load_task,
    add_name_tasks,
    add_share_task,
    add_tasks,
)
from workers.telemetry import Telemetry

_DESCRIPTION = """\
Serve one machine of a LabDash lab: measure its GPUs, watch its Ollama servers, and carry out
what the hub orders. It speaks to Ollama and to the store, and to other nodes of the lab while
models are copied."""

_ENVIRONMENT = """\
environment:
  REDIS_URL             the store: redis://host:port/0, rediss://… or unix:///path.sock?db=0
                        (or REDIS_URL_FILE, a file that holds it)
  LABDASH_NODE          the node's name, unless --node is given
  LABDASH_OLLAMA_URLS   Ollama servers, separated by commas (http://127.0.0.1:11434); they hold
                        until the hub tells which ones to serve
  LABDASH_HARDWARE      auto (this machine's GPUs) or simulated:URL
  LABDASH_MIRROR_PORT   where other nodes copy models from (11480); open only while one does
  LABDASH_DEMO          yes: no network is ever looked through for Ollama servers

It ends within a few seconds on SIGTERM or Ctrl-C, also in the middle of a pull, which goes on
from there at the next start. Exit code: 0 at the end, 2 for a setting that cannot be used."""


def main(argv: list[str] | None = None) -> int:
    """Run the node worker; return its exit code."""
    arguments = _parser().parse_args(argv)
    # The ollama client would send a cloud key to every server that it talks to.
    os.environ.pop("OLLAMA_API_KEY", None)
    try:
        config = NodeConfig.from_env(os.environ, node=arguments.node)
    except BadConfig as error:
        sys.stderr.write(f"labdash-node: {error}\n")
        return 2
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    # One line for each request to each server, every second, is no log.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # Celery warns root of messages that run code; these are JSON, and NVML may need root.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    return _serve(config)


def _serve(config: NodeConfig) -> int:
    store = Store(config.store_url, slug=config.slug)
    telemetry = Telemetry(config, store)
    stopping = threading.Event()
    pulls = Pulls(telemetry=telemetry, store=store, stopping=stopping)
    tries = Tries(telemetry=telemetry, store=store, stopping=stopping)
    loads = Loads(telemetry=telemetry, store=store, stopping=stopping)
    app = make_app(config)
    add_tasks(app, telemetry=telemetry, pulls=pulls, tries=tries)
    add_load_task(app, loads=loads)
    namings = Namings(telemetry=telemetry, store=store, stopping=stopping)
    add_name_tasks(app, namings=namings)
    clearings = Clearings(telemetry=telemetry, store=store, is_pulling=pulls.is_at)
    add_clear_task(app, clearings=clearings)
    if not config.serves_agentless:
        sharing = Sharing(config, telemetry=telemetry, store=store, stopping=stopping)
        add_share_task(app, sharing=sharing)
    if config.serves_agentless:
        add_find_task(app, finder=_finder(config, store, stopping))
    # Celery waits for its threads, so each pull must hear of the end.
    worker_shutting_down.connect(lambda **_: stopping.set(), weak=False)
    telemetry.start()
    worker = make_worker(app, config)
    worker.start()
    telemetry.stop()
    return int(worker.exitcode or 0)


def _finder(config: NodeConfig, store: Store, stopping: threading.Event) -> Finder:
    """Return what looks for servers: in the demo at its own machines, never in a real network."""
    simulated = config.simulated_servers
    if simulated is None:
        return Finder(store=store, stopping=stopping, plan=plan_own)
    return Finder(store=store, stopping=stopping, plan=lambda: plan_simulated(simulated))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="labdash-node",
        description=_DESCRIPTION,
        epilog=_ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--node",
        metavar="NAME",
        help="which node this is: small letters, digits and '-', or @hub for all nodes that are"
        " only an address and declared hardware",
    )
    parser.add_argument("--version", action="version", version=f"labdash-node {WORKER_VERSION}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
