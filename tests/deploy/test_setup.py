"""``deploy/setup`` with programs that stand in for Pythons and for uv."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.trees import BASE_PYTHON, bare_environment, copy_scripts, write_program

VERSION = ".".join(map(str, sys.version_info[:3]))
# What uv does for setup, without a network: see the real one in test_first_start.py.
UV = f"""
echo "$@" >>"$HOME/uv-calls"
case "$*" in
    --version) echo "uv 0.13.9" ;;
    "python install"*)
        [ -e "$HOME/no-network" ] && {{ echo "error: dns error" >&2; exit 2; }}
        mkdir -p "$UV_PYTHON_INSTALL_DIR/cpython-3.13.0/bin"
        ln -s {BASE_PYTHON} "$UV_PYTHON_INSTALL_DIR/cpython-3.13.0/bin/python3" ;;
    venv*) for folder in "$@"; do :; done; {BASE_PYTHON} -m venv --clear --without-pip "$folder" ;;
    "pip sync"*) [ -e "$HOME/sync-says" ] && {{ cat "$HOME/sync-says" >&2; exit 1; }} ;;
esac
exit 0
"""
ANCIENT = """
case "$1" in
    --version) echo "Python 2.7.18" >&2 ;;
    *) echo "Unknown option: -I" >&2; exit 2 ;;
esac
"""
SHIM = 'echo "pyenv: $0: command not found" >&2; exit 127'
FOUND_BY_ITSELF = any(
    Path(folder, f"python3.{minor}").exists()
    for folder in ("/usr/bin", "/usr/local/bin")
    for minor in (12, 13, 14)
)


@dataclass(frozen=True)
class Machine:
    """A home and a PATH of their own, and a copy of the scripts in a folder with spaces."""

    folder: Path

    @property
    def tree(self) -> Path:
        return self.folder / "my lab"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def program(self, name: str, text: str) -> Path:
        return write_program(self.folder / "bin" / name, text)

    def python(self, name: str) -> Path:
        link = self.folder / "bin" / name
        link.symlink_to(BASE_PYTHON)
        return link

    def setup(
        self, *arguments: str, interpreter: str = "dash", **more: str
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(  # noqa: S603 - our own script
            [
                shutil.which(interpreter) or "/bin/sh",
                str(self.tree / "deploy" / "setup"),
                *arguments,
            ],
            env=bare_environment(self.home, self.folder / "bin") | more,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def uv_calls(self) -> list[str]:
        calls = self.home / "uv-calls"
        said = calls.read_text().splitlines() if calls.exists() else []
        return [" ".join(call.split()[:2]) for call in said if call != "--version"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    copy_scripts(made.tree)
    made.home.mkdir()
    made.program("uv", UV)
    return made


def test_candidates_are_judged_by_running_them(machine: Machine) -> None:
    machine.program("python3.13", SHIM)
    machine.program("python3.14", ANCIENT)
    machine.program("python3", ANCIENT)
    machine.python("python3.12")
    ended = machine.setup()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"Python {VERSION} (")
    assert machine.uv_calls() == ["venv --quiet", "pip sync"]


def test_a_python_in_a_folder_of_pyenv_is_found(machine: Machine) -> None:
    versions = machine.home / ".pyenv" / "versions"
    for name in ("3.9.18", "3.13.0"):
        (versions / name / "bin").mkdir(parents=True)
    write_program(versions / "3.9.18" / "bin" / "python3", ANCIENT)
    (versions / "3.13.0" / "bin" / "python3").symlink_to(BASE_PYTHON)
    for name in ("python3", "python3.12", "python3.13", "python3.14"):
        machine.program(name, SHIM)
    ended = machine.setup()
    assert ended.stdout.startswith(f"Python {VERSION} (")


@pytest.mark.parametrize("name", ["LABDASH_PYTHON", "UV_PYTHON"])
def test_a_named_python_is_used(machine: Machine, name: str) -> None:
    mine = machine.python("mine")
    machine.program("python3.13", SHIM)
    assert machine.setup(**{name: str(mine)}).stdout.startswith(f"Python {VERSION} (")


def test_a_named_python_that_is_too_old_is_one_line(machine: Machine) -> None:
    old = machine.program("old", ANCIENT)
    ended = machine.setup(LABDASH_PYTHON=str(old))
    assert ended.returncode == 2
    assert ended.stderr == (
        f"labdash: LABDASH_PYTHON or UV_PYTHON names {old}, "
        "which is not a Python 3.12 or newer that runs (Python 2.7.18)\n"
    )


@pytest.mark.skipif(FOUND_BY_ITSELF, reason="this machine has a Python 3.12 or newer of its own")
class TestWithoutAnyNewPython:
    """Every Python on PATH is too old or does not run."""

    @pytest.fixture(autouse=True)
    def _no_python(self, machine: Machine) -> None:
        for name in ("python3", "python3.12", "python3.13", "python3.14"):
            machine.program(name, SHIM)

    def test_uv_brings_one(self, machine: Machine) -> None:
        ended = machine.setup()
        assert (ended.returncode, ended.stderr) == (0, "")
        brought = "No Python 3.12 or newer is installed here; uv brings Python 3.13 … done\n"
        assert ended.stdout.startswith(f"{brought}Python {VERSION} (")
        assert machine.uv_calls() == ["python install", "venv --quiet", "pip sync"]

    def test_without_a_network_it_is_one_line(self, machine: Machine) -> None:
        (machine.home / "no-network").touch()
        ended = machine.setup()
        assert ended.returncode == 3
        assert ended.stderr == (
            "labdash: no Python 3.12 or newer is installed, and none could be fetched "
            "(no network?): install one, or name one in LABDASH_PYTHON\n"
        )


def test_a_failing_apt_get_may_pass_by_itself(machine: Machine) -> None:
    machine.python("python3.13")
    (machine.folder / "bin" / "uv").unlink()
    # In the way of what the venv module says: no environment for uv can be made.
    (machine.tree / ".uv" / "venv.log").mkdir(parents=True)
    machine.program("sudo", 'shift; exec "$@"')
    machine.program("apt-get", "exit 100")
    ended = machine.setup()
    assert ended.returncode == 3
    assert "labdash: Python's venv module is missing: run 'apt-get install" in ended.stderr


def test_another_start_that_does_not_end_may_pass_by_itself(machine: Machine) -> None:
    machine.program("flock", "exit 1")
    ended = machine.setup()
    assert (ended.returncode, ended.stderr) == (
        3,
        "labdash: another start has been installing here for 15 minutes: end it\n",
    )


@pytest.mark.parametrize(
    ("said", "told", "code"),
    [
        ("error: Failed to fetch\n  dns error: no address", "no network, or the package index", 3),
        ("error: Hash mismatch for django\n", "error: Hash mismatch for django (details: ", 2),
    ],
)
def test_packages_that_cannot_be_installed_are_one_line(
    machine: Machine, said: str, told: str, code: int
) -> None:
    machine.python("python3.13")
    (machine.home / "sync-says").write_text(said)
    ended = machine.setup()
    assert ended.returncode == code
    assert ended.stderr.startswith("labdash: the packages could not be installed: ")
    assert told in ended.stderr
    assert ended.stderr.count("\n") == 1
    # It is no environment yet: the next start tries again.
    (machine.home / "sync-says").unlink()
    assert machine.setup().returncode == 0
    assert machine.uv_calls()[-1] == "pip sync"


def test_a_second_time_nothing_is_done(machine: Machine) -> None:
    machine.python("python3.13")
    machine.setup()
    calls = machine.uv_calls()
    again = machine.setup(interpreter="bash")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert machine.uv_calls() == calls


def test_a_changed_lock_is_installed(machine: Machine) -> None:
    machine.python("python3.13")
    machine.setup()
    lock = machine.tree / "deploy" / "hub.lock"
    lock.write_text(lock.read_text() + "# changed\n")
    assert "Installing" in machine.setup().stdout
    assert machine.uv_calls().count("pip sync") == 2


def test_a_moved_folder_gets_an_environment_that_fits(machine: Machine) -> None:
    machine.python("python3.13")
    machine.setup()
    moved = Machine(machine.folder / "elsewhere")
    shutil.copytree(machine.folder, moved.folder, symlinks=True, ignore=lambda *_: {"elsewhere"})
    assert "Installing" in moved.setup().stdout


def test_starting_never_takes_the_packages_of_the_tests_away(machine: Machine) -> None:
    machine.python("python3.13")
    machine.setup("dev")
    again = machine.setup("hub")
    assert again.stdout == ""
    assert (machine.tree / ".venv" / "labdash-stamp").read_text().startswith("dev\n")


def test_the_project_and_its_program_are_there_without_a_build(machine: Machine) -> None:
    machine.python("python3.13")
    machine.setup()
    (machine.tree / "workers" / "__main__.py").write_text("import sys; print(sys.argv[1:])")
    ended = subprocess.run(  # noqa: S603 - our own program
        [str(machine.tree / ".venv" / "bin" / "labdash-node"), "--node", "my rog"],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == "['--node', 'my rog']\n"


def test_an_unknown_kind_is_one_line(machine: Machine) -> None:
    ended = machine.setup("everything")
    assert ended.returncode == 2
    assert ended.stderr == "labdash: deploy/setup everything: write hub, dev or node\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_what_root_installs_belongs_to_the_owner_of_the_checkout(machine: Machine) -> None:
    machine.python("python3.13")
    os.chown(machine.tree, 12345, -1)
    assert machine.setup().returncode == 0
    made = [path for name in (".venv", ".uv") for path in (machine.tree / name).rglob("*")]
    assert {path.lstat().st_uid for path in made} == {12345}
    assert BASE_PYTHON.stat().st_uid != 12345


def test_two_at_once_make_one_environment(machine: Machine) -> None:
    machine.python("python3.13")
    with ThreadPoolExecutor() as pool:
        ended = list(pool.map(lambda _: machine.setup(), range(3)))
    assert [(each.returncode, each.stderr) for each in ended] == [(0, "")] * 3
    assert machine.uv_calls().count("pip sync") == 1


def test_an_environment_whose_making_was_cut_short_is_made_anew(machine: Machine) -> None:
    machine.python("python3.13")
    machine.setup()
    half = machine.tree / ".venv" / "half-a-package"
    half.touch()
    (machine.tree / ".venv" / "labdash-stamp").unlink()
    assert machine.setup().returncode == 0
    assert not half.exists()
