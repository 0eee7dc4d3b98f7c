"""Which registry this hub asks: Ollama's or another by a setting; the demo its simulated one."""

import json
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from labdash.sources.ranges import Service
from labdash.sources.registry import OLLAMA

# Where nothing listens: what is asked there is told as not reachable.
NOWHERE = Service("http://127.0.0.1:9", ())


def ollama_registry() -> Service:
    """Return where the models of Ollama's library are asked for."""
    if not settings.DEMO:
        return Service(settings.REGISTRY_URL, ()) if settings.REGISTRY_URL else OLLAMA
    path = Path(settings.DATA_DIR) / "run" / "simlab.json"
    try:
        return _simulated(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError):
        return NOWHERE


def may_be_asked(host: str) -> bool:
    """Tell whether names of a host are asked about: the demo asks nothing of the internet."""
    return not settings.DEMO or host == ollama_registry().name


@lru_cache(maxsize=2)
def _simulated(path: Path, _written_ns: int) -> Service:
    return Service(str(json.loads(path.read_text())["registry_url"]), ())
