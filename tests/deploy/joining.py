"""A hub whose owner adds machines, and a machine that joins it."""

import html
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from labdash.env import ROOT
from tests.deploy.running import Visitor
from tests.processes import PATIENCE_S

PASSWORD = "a long enough pass phrase"
# A user that every Linux has, and that owns nothing.
NOBODY = 65534
# Shows a Python ($1) in the home ($2/..) of that user, who may not enter root's, and runs the rest.
AS_NOBODY = f"""
mount --bind "$1" "$2" && cd "$2/.." && shift 2 &&
exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups -- "$@"
"""


class Hub:
    """A hub with its owner signed in."""

    def __init__(self, folder: Path, said: str, port: int) -> None:
        self.folder, self.owner = folder, Visitor(port)
        code = said.partition("setup code: ")[2].split()[0]
        fields = {"code": code, "username": "jo", "password": PASSWORD}
        assert self.owner.post("/set-up/", **fields) == (302, "/")

    def line(self, slug: str, kind: str = "curl", by: Visitor | None = None) -> str:
        """Add a machine and return the line that its page shows, to the owner ``by`` some way."""
        visitor = by or self.owner
        status, place = visitor.post("/add-machine/", slug=slug)
        assert status == 302
        _, page = visitor.get(place)
        (line,) = re.findall(rf'id="line-{kind}">(.+?)</code>', page)
        assert 'id="line-curl"' not in visitor.get(place)[1]
        return html.unescape(line)

    def state(self, slug: str) -> str:
        """Return a node's state as the overview says it; a command would take a second to start."""
        _, page = self.owner.get("/")
        card = page.partition(f'id="node-{slug}"')[2]
        (state,) = re.findall(r'class="age">(\w+)', card)[:1]
        return str(state)

    def is_open(self) -> bool:
        """Tell whether both ports are open."""
        told = self.folder / "run" / "door.json"
        return told.is_file() and None not in json.loads(told.read_text())["ports"].values()


class Machine:
    """Where the line is run."""

    def __init__(self, folder: Path, *before: str, **more: str) -> None:
        """``before`` stands before each command, as in ``ip netns exec NAME``."""
        self.before = before
        self.folder = folder / "my node"
        self.output = folder / "said.txt"
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LABDASH_NODE_DIR": str(self.folder),
            "LABDASH_PYTHON": str(ROOT / ".venv" / "bin" / "python"),
            "UV_OFFLINE": "1",
            **more,
        }

    def run(self, line: str, *options: str) -> int:
        """Run a line to its end; return the exit code of what it runs."""
        with self.output.open("ab") as output:
            return subprocess.run(  # noqa: S603 - the line under test
                [*self.before, "/bin/sh", "-c", f"{line} -s -- {' '.join(options)}"],
                env=self.environment,
                stdout=output,
                stderr=output,
                timeout=PATIENCE_S,
                check=False,
            ).returncode

    def start(self) -> None:
        """Start the worker as its launcher does."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - the program under test
                [*self.before, str(self.folder / "labdash-node")],
                env=self.environment,
                stdout=output,
                stderr=output,
            )

    def end(self) -> None:
        """End the worker."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE_S)

    def said(self) -> str:
        """Return what was printed."""
        return self.output.read_text() if self.output.exists() else ""


def machine_of_nobody(home: Path) -> Machine:
    """Return a machine whose user is not root and has no more than a home and a Python."""
    python = home / "python"
    python.mkdir()
    os.chown(home, NOBODY, NOBODY)
    before = ("unshare", "--mount", "sh", "-c", AS_NOBODY, "sh", sys.base_prefix, str(python))
    made = Machine(home, *before, LABDASH_NODE_DIR="", LABDASH_PYTHON="")
    made.folder = home / ".local" / "share" / "labdash-node"
    made.environment["PATH"] = f"{python}/bin:/usr/bin:/bin"
    made.environment["LD_LIBRARY_PATH"] = f"{python}/lib"
    return made
