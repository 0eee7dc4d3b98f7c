"""``python -m workers.cache``: a cache of models between the lab and the registries."""

import argparse
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from workers.cache.addresses import SERVICES
from workers.cache.arrivals import Arrivals
from workers.cache.cache import Cache
from workers.cache.counting import Count
from workers.cache.files import Files, InUse
from workers.cache.keeper import CacheStore, Keeper
from workers.cache.ports import MOST_CONNECTIONS, Ports
from workers.cache.upstream import Upstream
from workers.wire import HUB_NODE
from workers.wire.caching import CACHE_PORT

_DESCRIPTION = """\
Keep models that were downloaded once for the whole lab. It asks the Ollama registry and Hugging
Face and no other place, and gives a model only to whom the hub has given a secret for it.
REDIS_URL names the store by which the hub tells it what to do."""

BAD_SETTING = 2
# Two ports with all their connections, and a file for each.
_OPEN_FILES = 4 * MOST_CONNECTIONS + 512

type Build = Callable[[Files, Count], Cache]


def build(files: Files, count: Count) -> Cache:
    """Put a cache of the real registries together."""
    upstream = Upstream(SERVICES)
    return Cache(files, upstream, Arrivals(files, upstream, count), count)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(prog="python -m workers.cache", description=_DESCRIPTION)
    result.add_argument("--folder", type=Path, required=True, help="where the files lie")
    result.add_argument("--host", help="listen on this address alone (default: on all of them)")
    result.add_argument("--port", type=int, default=CACHE_PORT, help="default %(default)s")
    return result


def serve(arguments: argparse.Namespace, build: Build) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    os.umask(0o077)
    _allow_files()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        store = CacheStore(os.environ.get("REDIS_URL", ""), slug=HUB_NODE)
    except ValueError:
        sys.stderr.write("labdash: the cache is told no store: REDIS_URL must name it\n")
        return BAD_SETTING
    try:
        files = Files(arguments.folder)
    except (InUse, OSError) as error:
        sys.stderr.write(f"labdash: the cache cannot use {arguments.folder}: {error}\n")
        return BAD_SETTING
    cache = build(files, Count(arguments.folder / "count.json"))
    ports = Ports(cache, host=arguments.host, port=arguments.port)
    Keeper(cache, store=store, ports=ports).run(stopping)
    return 0


def _allow_files() -> None:
    """Let this process open what it may need: who only connects must not use up all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(serve(parser().parse_args(), build))
