"""The start of everything, in order, and what the user sees of it."""

import contextlib
import http.client
import json
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

from labdash.env import own_store_url, store_socket
from labdash.runner import commands, door, lab, store
from labdash.runner.config import Config, read_config
from labdash.runner.errors import CannotStart, Stopped
from labdash.runner.folder import hold
from labdash.runner.guard import Guard
from labdash.runner.listening import addresses, ipaddress_is_any, listen, listen_inside
from labdash.runner.options import Options
from labdash.runner.supervisor import Supervisor

STORE_TIMEOUT_S = 30
SIMLAB_TIMEOUT_S = 60
PREPARE_TIMEOUT_S = 300
WEB_TIMEOUT_S = 60
REQUEST_TIMEOUT_S = 5


def say(line: str) -> None:
    """Print a line at once, also into a pipe.

    Output that cannot be written (a file on a full disk, a pipe whose reader is gone) must not end
    what it tells of.
    """
    with contextlib.suppress(OSError):
        print(line, flush=True)  # noqa: T201 - this is the terminal program


def run(options: Options) -> int:
    """Start LabDash and keep it alive until the end is asked for; returns the exit code."""
    config = read_config(options)
    # Whatever is written into the data folder is for its owner alone.
    os.umask(0o077)
    with hold(config.data_dir, demo=options.demo) as lock:
        config = _with_accounts(config)
        sockets = [*listen(options.host, options.port), _listen_inside(config)]
        supervisor = Supervisor(
            logs_dir=config.data_dir / "log", guard=Guard(lock), say=lambda line: say(f"  {line}")
        )
        supervisor.end_on_signals()
        try:
            _start(config, supervisor, tuple(listener.fileno() for listener in sockets))
            door.watch(config, supervisor)
        except Stopped:
            say("Ending …")
        finally:
            supervisor.end()
            store.remove_socket_folder(store_socket(config.data_dir), config.data_dir)
    return 0


def _with_accounts(config: Config) -> Config:
    """Make the accounts of our own store, and take its address anew: the hub's holds a password."""
    if config.own_socket is None:
        return config
    store.prepare_accounts(config.data_dir / "store")
    return replace(config, redis_url=own_store_url(config.data_dir))


def _listen_inside(config: Config) -> socket.socket:
    path = store_socket(config.data_dir)
    store.make_socket_folder(path)
    return listen_inside(store.web_socket(path))


def _start(config: Config, supervisor: Supervisor, sockets: tuple[int, ...]) -> None:
    door.state_file(config).unlink(missing_ok=True)
    _start_store(config, supervisor)
    nodes = _start_simlab(config, supervisor) if config.options.demo else lab.this_machine(config)
    say("Preparing the database and the pages …")
    told = _prepare(config, supervisor, nodes)
    supervisor.start(commands.web(config, sockets))
    # The page first: all at once, they would keep each other from starting soon.
    answers = supervisor.wait_until(lambda: web_answers(config.options), timeout_s=WEB_TIMEOUT_S)
    supervisor.start(commands.hub_worker(config))
    supervisor.start(commands.scheduler(config))
    for node in nodes:
        supervisor.start(
            commands.node_worker(
                config, node.slug, ollama_urls=node.ollama_urls, hardware=node.hardware
            )
        )
    # In the demo it looks for servers among these, and nowhere else.
    simulated = tuple(url for node in nodes for url in node.ollama_urls if config.options.demo)
    supervisor.start(commands.node_worker(config, commands.HUB_NODE, ollama_urls=simulated))
    registry = lab.registry_url(_ready_file(config)) if config.options.demo else None
    supervisor.start(commands.cache(config, upstream=registry))
    if config.options.tls:
        door.open_door(config, supervisor)
    if answers:
        _tell(
            config.options,
            told,
            door.wait_for_tls(config, supervisor) if config.options.tls else [],
        )
    else:
        say(f"The web page does not answer yet: see {config.data_dir / 'log' / 'web.log'}")


def _start_store(config: Config, supervisor: Supervisor) -> None:
    path = config.own_socket
    if path is None:
        return
    supervisor.start(
        store.store_command(
            store.find_store(),
            socket_path=path,
            folder=config.data_dir / "store",
            environment=config.environment(hub=False),
        )
    )
    if not supervisor.wait_until(lambda: store.store_answers(path), timeout_s=STORE_TIMEOUT_S):
        raise CannotStart(f"the store does not answer: see {config.data_dir / 'log' / 'store.log'}")


def _start_simlab(config: Config, supervisor: Supervisor) -> list[lab.LocalNode]:
    say("Starting the simulated lab …")
    ready = _ready_file(config)
    ready.unlink(missing_ok=True)
    state = config.data_dir / "simlab"
    command = commands.simlab(config, state_dir=state, ready_file=ready)
    supervisor.start(command)
    if not supervisor.wait_until(ready.is_file, timeout_s=SIMLAB_TIMEOUT_S):
        log = command.log(config.data_dir / "log")
        raise CannotStart(f"the simulated lab does not start: see {log}")
    return lab.simulated(ready)


def _ready_file(config: Config) -> Path:
    return config.data_dir / "run" / "simlab.json"


def _prepare(config: Config, supervisor: Supervisor, nodes: list[lab.LocalNode]) -> dict[str, Any]:
    command = commands.manage(config, "prepare", "--json", *lab.prepare_arguments(nodes))
    return answer_of(supervisor.run_once(command, timeout_s=PREPARE_TIMEOUT_S))


def answer_of(log: Path) -> dict[str, Any]:
    """Return the JSON object that a command printed, and remove the file: it may hold a secret."""
    lines = log.read_text().splitlines()
    log.unlink()
    answers = [line for line in lines if line.startswith("{")]
    if not answers:
        raise CannotStart(f"{log.stem} printed no answer: {lines[-1] if lines else 'nothing'}")
    answer: dict[str, Any] = json.loads(answers[-1])
    return answer


def _tell(options: Options, told: dict[str, Any], of_tls: list[str]) -> None:
    say("LabDash runs. Open it at")
    for address in addresses(options.host, options.port):
        say(f"  {address}")
    for line in of_tls:
        say(line)
    if account := told.get("demo_account"):
        say(f"Sign in as {account['username']} with the password {account['password']}")
    elif code := told.get("setup_code"):
        say(f"The first time it asks for this setup code: {code}")
    say("Ctrl-C ends it.")


def web_answers(options: Options) -> bool:
    """Ask the web page whether it is there."""
    own = options.host if options.host and not ipaddress_is_any(options.host) else None
    host = own or ("::1" if options.host == "::" else "127.0.0.1")
    connection = http.client.HTTPConnection(host, options.port, timeout=REQUEST_TIMEOUT_S)
    try:
        # By a name that is always answered to, whatever the address is called.
        connection.request("GET", "/healthz", headers={"Host": "localhost"})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
