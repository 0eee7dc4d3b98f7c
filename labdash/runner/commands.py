"""What is run, and how: the only place that knows the command lines of LabDash's processes."""

import sys
from pathlib import Path

from labdash.env import ROOT
from labdash.runner.child import Command
from labdash.runner.config import Config

HUB_THREADS = 4
# The one process that serves all agentless nodes: its name is that of workers.wire.HUB_NODE.
HUB_NODE = "@hub"


def manage(config: Config, name: str, *arguments: str) -> Command:
    """Return a command of ``manage.py``, to be run once."""
    return Command(
        name=name.replace("_", " "),
        argv=(sys.executable, str(ROOT / "manage.py"), name, *arguments),
        environment=config.environment(),
    )


def web(config: Config, sockets: tuple[int, ...]) -> Command:
    """Return the web process, which serves the sockets that the runner listens on."""
    return Command(
        name="web",
        argv=(sys.executable, "-m", "labdash.serve", *map(str, sockets)),
        environment=config.environment(),
        sockets=sockets,
    )


def forwarder(config: Config, *, web_socket: Path, state: Path, store_wanted: Path) -> Command:
    """Return the door for other machines, which takes TLS off before the page and the store."""
    options = config.options
    argv = (
        *(sys.executable, "-m", "labdash.runner.forwarder"),
        *(["--host", options.host] if options.host else []),
        *("--https-port", str(options.https_port), "--web-socket", str(web_socket)),
        *("--store-port", str(options.node_port), "--store-wanted", str(store_wanted)),
        *("--certificates", str(config.data_dir / "tls"), "--state", str(state)),
    )
    return Command(name="forwarder", argv=argv, environment=config.environment(hub=False))


def wheels(config: Config) -> Command:
    """Return what fetches the packages for machines that join, to be run once."""
    argv = (str(ROOT / "deploy" / "wheels"),)
    return Command(name="wheels", argv=argv, environment=config.environment(hub=False))


def hub_worker(config: Config) -> Command:
    """Return the hub's Celery worker."""
    argv = (
        *(sys.executable, "-m", "celery", "--quiet", "-A", "labdash.celery", "worker"),
        *("-Q", "hub", "-n", "hub@%h", "--pool=threads", f"--concurrency={HUB_THREADS}"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=warning"),
    )
    return Command(name="hub worker", argv=argv, environment=config.environment())


def scheduler(config: Config) -> Command:
    """Return Celery's beat, a child of its own: inside the worker its death would not be seen."""
    argv = (
        *(sys.executable, "-m", "celery", "--quiet", "-A", "labdash.celery", "beat"),
        "--loglevel=warning",
    )
    return Command(name="scheduler", argv=argv, environment=config.environment())


def node_worker(
    config: Config, slug: str, *, ollama_urls: tuple[str, ...] = (), hardware: str = "auto"
) -> Command:
    """Return the worker of one node."""
    environment = config.environment(hub=False) | {
        "LABDASH_NODE": slug,
        "LABDASH_OLLAMA_URLS": ",".join(ollama_urls),
        "LABDASH_HARDWARE": hardware,
    }
    if config.mirror_port and hardware == "auto":
        # Of the many simulated machines of one demo, each takes a port of its own.
        environment["LABDASH_MIRROR_PORT"] = str(config.mirror_port)
    return Command(
        name=f"node worker {slug}",
        argv=(sys.executable, "-m", "workers", "--node", slug),
        environment=environment,
    )


def cache(config: Config, *, upstream: str | None) -> Command:
    """Return the cache of models, which runs while the page wants it, by a file.

    ``upstream`` is the simulated registry of the demo, the only one that its cache asks.
    """
    module = "workers.simlab.cache" if upstream else "workers.cache"
    host = "127.0.0.1" if upstream else config.options.host
    argv = (
        *(sys.executable, "-m", module, "--folder", str(config.data_dir / "cache")),
        *("--port", str(0 if upstream else config.cache_port)),
        *(["--host", host] if host else []),
        *(["--upstream", upstream] if upstream else []),
    )
    wanted = config.data_dir / "run" / "cache-wanted"
    environment = config.environment(hub=False)
    return Command(name="cache", argv=argv, environment=environment, wanted=wanted)


def simlab(config: Config, *, state_dir: Path, ready_file: Path) -> Command:
    """Return the simulated lab of the demo."""
    argv = (
        *(sys.executable, "-m", "workers.simlab", "--state-dir", str(state_dir)),
        *("--control-port", "0", "--ready-file", str(ready_file)),
    )
    environment = config.environment(hub=False)
    # Last, or the node workers would report dying machines while they end.
    return Command(name="simulated lab", argv=argv, environment=environment, last=True)
