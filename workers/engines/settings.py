"""The settings that a running Ollama server was started with, from its process's environment."""

import re

import psutil

from workers.engines.log_secrets import REMOVED, clean_line
from workers.wire import MOST_SETTINGS, Setting

# What steers Ollama and the llama.cpp in it; of all else in an environment nothing is told.
_TOLD = re.compile(
    r"(OLLAMA|LLAMA_ARG)_[A-Z0-9_]+"
    r"|(CUDA|HIP|ROCR|GGML_VK)_VISIBLE_DEVICES|CUDA_DEVICE_ORDER|HSA_OVERRIDE_GFX_VERSION"
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|AUTH|CREDENTIAL")


def read_settings(process: psutil.Process) -> tuple[Setting, ...] | None:
    """Return what is set, by name; ``None`` where this worker may not look."""
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return None
    told = sorted(name for name in environment if _TOLD.fullmatch(name))
    return tuple(_setting(name, environment[name]) for name in told[:MOST_SETTINGS])


def _setting(name: str, value: str) -> Setting:
    is_secret = bool(_SECRET.search(name))
    return Setting(name=name, value=REMOVED if is_secret else clean_line(value))
