"""The command line of ``deploy/up``."""

import argparse
from dataclasses import dataclass

from labdash.env import MAX_PORT

# Not the default of anything that such a machine often runs (Ollama, Open WebUI, ComfyUI, vLLM,
# LM Studio, Jupyter, Home Assistant), and not assigned in /etc/services.
DEFAULT_PORT = 8642


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asked for. ``host`` None means all addresses of this machine."""

    host: str | None = None
    port: int = DEFAULT_PORT
    demo: bool = False
    local_node: bool = True
    reset_owner: bool = False
    install: bool = False
    tls: bool = False
    tls_port: int | None = None
    store_port: int | None = None

    @property
    def https_port(self) -> int:
        """The port of HTTPS, beside the page's own unless it is given."""
        return self.tls_port or _beside(self.port, 1)

    @property
    def node_port(self) -> int:
        """The port by which nodes on other machines reach the store."""
        return self.store_port or _beside(self.port, 2)


def _beside(port: int, step: int) -> int:
    return port + step if port + step <= MAX_PORT else port - step


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: write 1 to {MAX_PORT}")
    return int(text)


def parse_options(argv: list[str]) -> Options:
    """Read the command line; ends the process with 2 and a line where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="deploy/up",
        description="Start LabDash on this machine and keep it running until Ctrl-C.",
        epilog="Settings come from the environment; README.md lists them.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--host", metavar="ADDRESS", help="listen on this address alone (default: on all of them)"
    )
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="the web page's port (default %(default)s)"
    )
    _add_tls(parser)
    parser.add_argument(
        "--demo",
        action="store_true",
        help="show a simulated lab of five nodes; it keeps its state apart, in var/demo/",
    )
    parser.add_argument(
        "--no-local-node",
        dest="local_node",
        action="store_false",
        help="only the hub: do not watch the GPUs and the Ollama of this machine",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--reset-owner",
        action="store_true",
        help="print a one-time code with which a forgotten password is set anew, and end",
    )
    what.add_argument(
        "--install",
        action="store_true",
        help="make it a systemd service (the user's own without root) that outlives the terminal",
    )
    return Options(**vars(parser.parse_args(argv)))


def _add_tls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tls",
        action="store_true",
        help="answer HTTPS too; without it, only once a node on another machine may join",
    )
    parser.add_argument(
        "--tls-port",
        type=_port,
        metavar="PORT",
        help="the port of HTTPS (default: the one after the page's)",
    )
    parser.add_argument(
        "--store-port",
        type=_port,
        metavar="PORT",
        help="the port by which nodes on other machines report (default: the next one)",
    )
