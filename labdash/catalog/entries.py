"""Entries that somebody brings: every key is checked, and the first fault told in one line."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

from labdash.catalog.own import Row
from labdash.planner.errors import PlannerError
from labdash.planner.facts import MOST
from labdash.planner.shape import read_shape

CAPABILITIES = ("chat", "tools", "vision", "thinking", "code", "embedding", "audio")
MOST_ENTRIES = 2000
MOST_FILES = 200
# A list has an entry for each layer, of which the engine takes 512.
MOST_LISTED = 512
LONGEST_SHOWN = 60
LONGEST_REPOSITORY = 96
LONGEST_SOURCE = 1000
NAME = re.compile(r"\w[\w .+()-]{0,99}")
REPOSITORY = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?")
TAG = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}(/[a-z0-9][a-z0-9._-]{0,79})?:[A-Za-z0-9][\w.-]{0,79}")
ARCH = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
KEY = re.compile(r"[a-z0-9][a-z0-9_.]{0,79}")
QUANT = re.compile(r"[A-Za-z0-9_.-]{1,24}")
DAY = re.compile(r"(19|20)\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")

type Check = Callable[[Any], str]


def read_entries(text: str) -> tuple[Row, ...]:
    """Read entries: a list, ``{"models": […]}``, one alone, or one a line.

    Raises ``PlannerError`` with the entry and the key that is wrong.
    """
    if not text.strip("\ufeff \t\r\n"):
        raise PlannerError("this file is empty")
    found = _documents(text)
    if len(found) > MOST_ENTRIES:
        raise PlannerError(f"this file has {len(found)} entries: at most {MOST_ENTRIES} are taken")
    if not found:
        raise PlannerError("this file has no entry")
    rows = [(where, check_entry(entry, where)) for where, entry in found]
    _refuse_twice(rows, "name")
    _refuse_twice(rows, "ollama")
    return tuple(row for _, row in rows)


def check_entry(entry: object, where: str = "the entry") -> Row:
    """Return an entry with what may be left out. Raises ``PlannerError``."""
    if not isinstance(entry, dict):
        raise PlannerError(f"{where} is no object: write one of name, arch, metadata and so on")
    if isinstance(entry.get("name"), str):
        where = f"{where} ({_short(entry['name'])})"
    _check_keys(entry, ENTRY, REQUIRED, where)
    name = entry["name"]
    row = {"hf_repo": _repository(name), "files": [], "source": "the lab's own entry", **entry}
    row["files"] = [
        _file(each, f"{where}: files[{at}]", str(row["source"]))
        for at, each in enumerate(row["files"])
    ]
    if row.get("latest") and not row.get("ollama"):
        raise PlannerError(f"{where}: latest says which tag a bare name means: give ollama, too")
    _check_metadata(row, where)
    return in_order(row)


def in_order(row: Row) -> Row:
    """Put the keys of an entry and of its files in one order, as they are written."""
    files = [{key: file[key] for key in FILE if key in file} for file in row["files"]]
    return {key: files if key == "files" else row[key] for key in ENTRY if key in row}


def _repository(name: str) -> str:
    """Write a name as repositories are, for an entry that has none: what is kept is read again."""
    return re.sub(r"[^\w.-]+", "-", name)[:LONGEST_REPOSITORY].strip("-")


def _check_keys(
    entry: Mapping[str, Any], known: Mapping[str, Check], required: Iterable[str], where: str
) -> None:
    for key in entry:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f": did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
            raise PlannerError(f"{where}: there is no key {_short(key)}{hint}")
    for key in required:
        if key not in entry:
            raise PlannerError(f"{where}: the key {key} is missing")
    for key, value in entry.items():
        if fault := known[key](value):
            raise PlannerError(f"{where}: {key} {fault}")


def _file(entry: object, where: str, source: str) -> Row:
    if not isinstance(entry, dict):
        raise PlannerError(f"{where} is no object: write one of quant, bytes and file")
    _check_keys(entry, FILE, ("bytes", "file"), where)
    return {"quant": None, "source": source, **entry}


def _check_metadata(row: Row, where: str) -> None:
    """Check the shape. No shape at all is a model that can be listed, and not estimated."""
    arch, facts = row["arch"], row["metadata"]
    for key, value in facts.items():
        if not KEY.fullmatch(key):
            raise PlannerError(f"{where}: metadata has a key {_short(key)}, which GGUF has not")
        if key.startswith((f"{arch}.", "general.", "tokenizer.")):
            hint = (
                f"write {key.removeprefix(f'{arch}.')}" if key.startswith(arch) else "leave it out"
            )
            raise PlannerError(
                f"{where}: metadata.{_short(key)} holds no fact of the shape: {hint}"
            )
        if fault := _fact(value):
            raise PlannerError(f"{where}: metadata.{key} {fault}")
    if facts:
        named = {f"{arch}.{k}": tuple(v) if isinstance(v, list) else v for k, v in facts.items()}
        try:
            read_shape({"general.architecture": arch, **named}, {})
        except PlannerError as error:
            raise PlannerError(f"{where}: metadata: {error}") from None


def _refuse_twice(rows: Iterable[tuple[str, Row]], key: str) -> None:
    seen: dict[str, str] = {}
    for where, row in rows:
        value = str(row.get(key) or "").lower()
        if value and value in seen:
            raise PlannerError(
                f"{seen[value]} and {where} have the {key} {_short(row[key])}: "
                "leave one of them out"
            )
        seen[value] = where


def _documents(text: str) -> list[tuple[str, object]]:
    """Return the entries with where each stands."""
    begin = text.lstrip("\ufeff \t\r\n")
    if "\n" in begin.strip() and _is_line(begin.partition("\n")[0]):
        lines = enumerate(text.splitlines(), start=1)
        return [
            (f"line {n}", _load(line, f"line {n}")) for n, line in lines if line.strip("\ufeff \t")
        ]
    document = _load(begin, "this file")
    if isinstance(document, dict) and isinstance(document.get("models"), list):
        document = document["models"]
    entries = document if isinstance(document, list) else [document]
    return [(f"entry {number}", each) for number, each in enumerate(entries, start=1)]


def _is_line(line: str) -> bool:
    """Whether a line is one entry by itself."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _load(text: str, where: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_pairs)
    except RecursionError:
        raise PlannerError(f"{where} nests too deeply for a catalog") from None
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise PlannerError(f"{where} is no JSON: {error.msg}, {line}letter {error.colno}") from None
    except ValueError as error:
        raise PlannerError(f"{where} is no JSON: {error}".splitlines()[0]) from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"an object has a key of {', '.join(found)[:LONGEST_SHOWN]} twice")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _short(value: object) -> str:
    return " ".join(str(value).split())[:LONGEST_SHOWN] or "of no letters"


# -- what each key holds: the fault, or nothing


def _text(longest: int) -> Check:
    def check(value: Any) -> str:
        good = isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()
        return "" if good else f"is one line of at most {longest} letters"

    return check


def _like(pattern: re.Pattern[str], example: str) -> Check:
    def check(value: Any) -> str:
        good = isinstance(value, str) and pattern.fullmatch(value) and value == value.strip()
        return "" if good else f"is written like {example}, not {_short(repr(value))}"

    return check


def _count(value: Any) -> str:
    good = type(value) is int and 0 < value <= MOST
    return "" if good else f"is a whole number above 0, not {_short(repr(value))}"


def _switch(value: Any) -> str:
    return "" if isinstance(value, bool) else f"is true or false, not {_short(repr(value))}"


def _capabilities(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return f"is a list of {', '.join(CAPABILITIES)}"
    wrong = next((each for each in value if each not in CAPABILITIES), None)
    return "" if wrong is None else f"knows no {_short(wrong)}: there are {', '.join(CAPABILITIES)}"


def _object(value: Any) -> str:
    return "" if isinstance(value, dict) else "is an object of GGUF's keys without the architecture"


def _files(value: Any) -> str:
    good = isinstance(value, list) and len(value) <= MOST_FILES
    return "" if good else f"is a list of at most {MOST_FILES} files"


def _or_nothing(check: Check) -> Check:
    return lambda value: "" if value is None else check(value)


def _fact(value: Any) -> str:
    listed = value if isinstance(value, list) else [value]
    if not listed or len(listed) > MOST_LISTED or not all(map(_is_fact, listed)):
        return f"is a number, a word, true or false, or a list of at most {MOST_LISTED} of them"
    return ""


def _is_fact(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST_SHOWN and value.isprintable()
    return isinstance(value, int | float) and abs(value) <= MOST


REQUIRED = ("name", "family", "arch", "capabilities", "metadata")
ENTRY: Mapping[str, Check] = {
    "name": _like(NAME, "Qwen3-8B"),
    "family": _like(NAME, "Qwen3"),
    "ollama": _or_nothing(_like(TAG, "qwen3:8b")),
    "latest": _switch,
    "hf_repo": _like(REPOSITORY, "Qwen/Qwen3-8B"),
    "arch": _like(ARCH, "qwen3"),
    "released": _or_nothing(_like(DAY, "2025-04-28")),
    "license": _or_nothing(_text(80)),
    "capabilities": _capabilities,
    "params_total": _or_nothing(_count),
    "params_active": _or_nothing(_count),
    "params_language_model": _or_nothing(_count),
    "params_tied": _or_nothing(_count),
    "params_untied": _or_nothing(_count),
    "tied": _or_nothing(_switch),
    "params_check": _or_nothing(_text(500)),
    "metadata": _object,
    "files": _files,
    "notes": _or_nothing(_text(2000)),
    "source": _text(LONGEST_SOURCE),
}
FILE: Mapping[str, Check] = {
    "quant": _or_nothing(_like(QUANT, "Q4_K_M")),
    "bytes": _count,
    "file": _text(300),
    "source": _text(LONGEST_SOURCE),
    "projector_bytes": _or_nothing(_count),
}
