"""Models in files: GGUF, whole, split or a header alone, and saved answers of ``/api/show``."""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labdash.planner.errors import PlannerError
from labdash.planner.gguf import Header, check_data, read_header_from
from labdash.planner.gguf_split import merge, model_of
from labdash.planner.model import Model
from labdash.planner.show import model_of_show

# llama.cpp, llama_split_path
PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
# An answer of /api/show with its tensors takes a few hundred KiB, with the vocabulary 25 MiB.
SHOW_LIMIT_BYTES = 64 * 2**20
SHOW_BEGINS_WITHIN = 64


@dataclass(frozen=True, slots=True)
class Opened:
    """A model and what is to be said of its file. No header is known of an /api/show."""

    model: Model
    warnings: tuple[str, ...]
    header_bytes: int | None = None
    alignment: int = 32


def open_file(path: Path, *, installed: bool = False) -> Opened:
    """Open a model. Raises ``PlannerError`` with one line.

    ``installed`` refuses a file that holds less than its tensors take. Of a split model any part
    will do, as long as the others lie beside it.
    """
    try:
        if path.is_dir():
            raise PlannerError(f"{path} is a folder: name the GGUF file in it")
        if path.exists() and not path.is_file():
            raise PlannerError(f"{path} is no file")
        with path.open("rb") as content:
            begin = content.read(SHOW_BEGINS_WITHIN)
        if begin.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
            return Opened(_show(path), ())
        return _gguf(path, installed=installed)
    except FileNotFoundError:
        raise PlannerError(f"there is no file {path}") from None
    except OSError as error:
        raise PlannerError(f"cannot read {path}: {error.strerror}") from error


def _show(path: Path) -> Model:
    if path.stat().st_size > SHOW_LIMIT_BYTES:
        raise PlannerError(f"{path.name} is too large for an answer of /api/show")
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise PlannerError(f"{path.name} is no answer of /api/show: it nests too deeply") from None
    except ValueError as error:
        raise PlannerError(f"{path.name} is no JSON: {error}".splitlines()[0]) from error
    if not isinstance(document, dict):
        raise PlannerError(f"{path.name} is no answer of /api/show")
    return model_of_show(document, name=path.stem)


def _gguf(path: Path, *, installed: bool) -> Opened:
    headers: list[Header] = []
    warnings: list[str] = []
    for part in _parts(path):
        header, said = _header(part, installed=installed)
        headers.append(header)
        warnings.extend(said)
    header = merge(headers) if len(headers) > 1 else headers[0]
    said = (*header.warnings, *warnings)
    model = model_of(header, name=path.stem)
    return Opened(model, said, header.header_bytes, header.alignment)


def _header(path: Path, *, installed: bool) -> tuple[Header, tuple[str, ...]]:
    size = path.stat().st_size
    with path.open("rb") as content:

        def read(at: int, count: int) -> bytes:
            content.seek(at)
            return content.read(count)

        header = read_header_from(read, file_bytes=size)
    return header, check_data(header, size, installed=installed)


def _parts(path: Path) -> Iterator[Path]:
    """Find the files beside this one that it is split into."""
    found = PART.fullmatch(path.name)
    if found is None:
        yield path
        return
    prefix, own, count = found.groups()
    if not 0 < int(own) <= int(count):
        yield path
        return
    for number in range(1, int(count) + 1):
        part = path.with_name(f"{prefix}-{number:05}-of-{count}.gguf")
        if part.exists():
            yield part
