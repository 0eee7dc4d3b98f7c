"""Hand commands to a simulated lab that runs: thin words for the control API."""

import argparse
import json
import os
import sys
from typing import Any

import httpx

TIMEOUT_S = 10
CONTROL_URL_VARIABLE = "LABDASH_SIMLAB_URL"

EXAMPLES = """\
examples:
  lab                              where everything listens
  hardware rog                     what the driver of a machine says
  lose rog 0 | restore rog 0       a GPU falls off the bus, and comes back
  desktop tower 0 3000000000       the desktop takes bytes of a GPU
  game rog 0 6442450944            a game takes bytes of a GPU, all that is free (0: it ends)
  disk minibox 2000000000          so many bytes are left on the disk
  stop tower 0 | start tower 0     an Ollama server
  kill tower 0 | spoil tower 0     it ends by SIGKILL, or leaves what no pull can go on from
  replace tower 0 0.40.0           another version of it
  kill-runner rog 0 qwen3:8b       the process of a loaded model ends, and stays listed
  end-orphans tower                processes that a killed server left behind
  damage rog 0 qwen3:8b            a model's file is cut off
  rot rog 0 qwen3:8b               a byte of it changes, and nobody notices
  fail-load rog 0 "CUDA error"     the next load on a server fails with these words
  fault qwen3:8b stall             pulls of a model go wrong (null: no more)
  publish qwen3:8b template        a new version of it: weights, template, parameters,
                                   requires=0.40.0; withdraw: it is published no more
  speed 5000000                    bytes a second of the registry (0: no limit)
  head-delay 10                    seconds until it tells a file's size
  registry stop | registry start   nothing answers there
"""

# Words after the command, path, and body (its values are names of words).
COMMANDS: dict[str, tuple[tuple[str, ...], str, dict[str, str] | None]] = {
    "lab": ((), "/lab", None),
    "hardware": (("machine",), "/machines/{machine}/hardware", None),
    "lose": (("machine", "gpu"), "/machines/{machine}/gpus/{gpu}/lose", {}),
    "restore": (("machine", "gpu"), "/machines/{machine}/gpus/{gpu}/restore", {}),
    "desktop": (
        ("machine", "gpu", "bytes"),
        "/machines/{machine}/gpus/{gpu}/desktop",
        {"bytes": "bytes"},
    ),
    "game": (
        ("machine", "gpu", "bytes"),
        "/machines/{machine}/gpus/{gpu}/game",
        {"bytes": "bytes"},
    ),
    "disk": (("machine", "bytes"), "/machines/{machine}/disk", {"free_bytes": "bytes"}),
    "stop": (("machine", "server"), "/machines/{machine}/ollama/{server}/stop", {}),
    "start": (("machine", "server"), "/machines/{machine}/ollama/{server}/start", {}),
    "fail-load": (
        ("machine", "server", "text"),
        "/machines/{machine}/ollama/{server}/fail-load",
        {"text": "text"},
    ),
    **{
        name: (("machine", "server"), f"/machines/{{machine}}/ollama/{{server}}/{name}", {})
        for name in ("kill", "spoil")
    },
    **{
        name: (
            ("machine", "server", word),
            f"/machines/{{machine}}/ollama/{{server}}/{name}",
            {word: word},
        )
        for name, word in (
            ("replace", "version"),
            ("kill-runner", "model"),
            ("damage", "model"),
            ("rot", "model"),
        )
    },
    "end-orphans": (("machine",), "/machines/{machine}/end-orphans", {}),
    "fault": (("model", "fault"), "/registry/faults", {"model": "model", "fault": "fault"}),
    "publish": (("model", "change"), "/registry/publish", {"model": "model", "change": "change"}),
    "head-delay": (("seconds",), "/registry/head-delay", {"seconds": "seconds"}),
    "registry": (("wish",), "/registry/{wish}", {}),
    "speed": (("bytes_per_s",), "/registry/speed", {"bytes_per_s": "bytes_per_s"}),
}
NUMBERS = {"bytes", "bytes_per_s", "gpu", "seconds", "server"}


def main(arguments: list[str]) -> int:
    """Send one command; give 0, or 1 with one line on stderr."""
    options = parser().parse_args(arguments)
    words, path, body = COMMANDS[options.command]
    values = {word: getattr(options, word) for word in words}
    url = options.control_url.rstrip("/") + path.format(**values)
    data = None if body is None else {key: values[word] for key, word in body.items()}
    try:
        answer = _send(url, data)
    except httpx.HTTPError as error:
        sys.stderr.write(f"the simulated lab does not answer at {url}: {error}\n")
        return 1
    text = answer.text if answer.is_error else json.dumps(answer.json(), indent=2)
    (sys.stderr if answer.is_error else sys.stdout).write(f"{text.strip()}\n")
    return int(answer.is_error)


def _send(url: str, data: dict[str, Any] | None) -> httpx.Response:
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
        return client.get(url) if data is None else client.post(url, json=data)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        prog="python -m workers.simlab ctl",
        description="Make things happen to a simulated lab that runs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    preset = os.environ.get(CONTROL_URL_VARIABLE)
    result.add_argument(
        "--control-url",
        default=preset,
        required=preset is None,
        help=f"address of the control API (default: ${CONTROL_URL_VARIABLE})",
    )
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (words, _, _) in COMMANDS.items():
        command = commands.add_parser(name)
        for word in words:
            command.add_argument(word, type=int if word in NUMBERS else str)
    return result
