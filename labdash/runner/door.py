"""When the door for other machines is opened, and what is told of it."""

import json
from pathlib import Path
from typing import Any

from labdash.env import store_socket
from labdash.runner import commands
from labdash.runner.config import Config
from labdash.runner.errors import CannotStart
from labdash.runner.listening import addresses
from labdash.runner.store import web_socket
from labdash.runner.supervisor import Supervisor

LOOK_EVERY_S = 1.0
OPEN_TIMEOUT_S = 15
WHEELS_TIMEOUT_S = 600


def watch(config: Config, supervisor: Supervisor) -> None:
    """Look after the children until the end is asked for; open the door once it is wanted.

    The page wants it, by a file, when a node on another machine joined or may join.
    """
    while not _wanted(config).exists():
        supervisor.pause(LOOK_EVERY_S)
    if not config.options.tls:
        open_door(config, supervisor)
    _keep_wheels(config, supervisor)
    supervisor.run()


def _keep_wheels(config: Config, supervisor: Supervisor) -> None:
    """Keep the packages that a machine needs to join, for one without a way to an index."""
    try:
        supervisor.run_once(commands.wheels(config), timeout_s=WHEELS_TIMEOUT_S)
    except CannotStart as error:
        supervisor.say(f"machines that join must fetch their packages themselves: {error}")


def open_door(config: Config, supervisor: Supervisor) -> None:
    """Start the forwarder. The port of the store opens only while the page wants it."""
    supervisor.start(
        commands.forwarder(
            config,
            web_socket=web_socket(store_socket(config.data_dir)),
            state=state_file(config),
            store_wanted=_wanted(config),
        )
    )


def wait_for_tls(config: Config, supervisor: Supervisor) -> list[str]:
    """Return what to tell of HTTPS, which was asked for by ``--tls``."""
    supervisor.wait_until(lambda: bool(_state(config)), timeout_s=OPEN_TIMEOUT_S)
    state = _state(config)
    if not state.get("ports", {}).get("https"):
        reason = state.get("errors", {}).get("https", "the forwarder does not start")
        return [f"HTTPS is not answered: {reason} (--tls-port)"]
    found = addresses(config.options.host, config.options.https_port)
    return [
        "By HTTPS, with a certificate of its own that a browser warns of:",
        *(f"  {address.replace('http:', 'https:', 1)}" for address in found),
    ]


def state_file(config: Config) -> Path:
    """Return the file in which the forwarder tells what is open."""
    return config.data_dir / "run" / "door.json"


def _wanted(config: Config) -> Path:
    return config.data_dir / "run" / "door-wanted"


def _state(config: Config) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(state_file(config).read_text())
    except FileNotFoundError:
        return {}
    return found
