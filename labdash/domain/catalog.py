"""The lab's own entries of the catalog: brought, changed and taken away as one file."""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

from labdash.catalog.entries import MOST_ENTRIES, check_entry, read_entries
from labdash.catalog.models import CatalogModel, given_models, given_tags
from labdash.catalog.own import Row
from labdash.domain.errors import LabDashError
from labdash.planner.errors import PlannerError
from labdash.planner.model import Tensor
from labdash.planner.tables import tensors_of
from labdash.queries.own_catalog import LONGEST_BYTES, entries_path, look_now, read_own


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import changed, by name. ``notes`` say which can be listed and not estimated."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    same: int = 0
    notes: tuple[str, ...] = ()


def import_entries(*, rows: Iterable[Row], prune: bool = False, dry_run: bool = False) -> Imported:
    """Store checked entries: new ones, and others in place of those of their name.

    ``prune`` takes away what ``rows`` lack, ``dry_run`` stores nothing. Raises ``LabDashError``.
    """
    brought = _by_name(map(_completed, rows))
    with _held() as path:
        before = _by_name(_read(path))
        after = brought if prune else {**before, **brought}
        _check_together(after)
        _check_replaced(after)
        done = _told(before, after, brought)
        if not dry_run and after != before:
            _write(path, after.values())
    return done


def remove_entry(*, name: str) -> bool:
    """Take an own entry away. Returns False where it was gone already."""
    with _held() as path:
        before = _by_name(_read(path))
        after = {key: row for key, row in before.items() if key != name.lower()}
        if after == before:
            return False
        _write(path, after.values())
    return True


def change_entry(*, name: str, told: Row) -> bool:
    """Change what an own entry says of itself. Returns False where it is gone."""
    with _held() as path:
        before = _by_name(_read(path))
        row = before.get(name.lower())
        if row is None:
            return False
        try:
            changed = check_entry({**row, **told})
        except PlannerError as error:
            raise LabDashError(str(error)) from None
        _write(path, {**before, name.lower(): changed}.values())
    return True


def _by_name(rows: Iterable[Row]) -> dict[str, Row]:
    return {str(row["name"]).lower(): row for row in rows}


def _told(
    before: Mapping[str, Row], after: Mapping[str, Row], brought: Mapping[str, Row]
) -> Imported:
    changed = [key for key in brought if key in before and before[key] != brought[key]]
    return Imported(
        added=tuple(str(row["name"]) for key, row in brought.items() if key not in before),
        changed=tuple(str(brought[key]["name"]) for key in changed),
        removed=tuple(str(row["name"]) for key, row in before.items() if key not in after),
        same=sum(before.get(key) == row for key, row in brought.items()),
        notes=tuple(filter(None, map(_note, brought.values()))),
    )


def _completed(row: Row) -> Row:
    """Count the parameters of an entry that does not tell them, as far as its shape does."""
    if row.get("params_total") or not row["metadata"]:
        return row
    try:
        return {**row, "params_total": sum(prod(each.shape) for each in _tensors(row))}
    except PlannerError:
        return row


def _note(row: Row) -> str:
    """Say what is not known of an entry, nothing where it can be estimated."""
    if not row["metadata"]:
        return f"{row['name']}: no shape is given, so it is listed and not estimated"
    fault = _fault(row)
    return f"{row['name']}: it is listed and not estimated, for {fault}" if fault else ""


def _tensors(row: Row) -> tuple[Tensor, ...]:
    arch = str(row["arch"])
    named = {
        f"{arch}.{key}": tuple(value) if isinstance(value, list) else value
        for key, value in row["metadata"].items()
    }
    return tensors_of({"general.architecture": arch, **named}, tied=bool(row.get("tied")))


def _check_together(rows: Mapping[str, Row]) -> None:
    """Refuse what would make a name stand for two models."""
    if len(rows) > MOST_ENTRIES:
        raise LabDashError(f"a lab has at most {MOST_ENTRIES} entries of its own")
    owners = {tag: name for tag, name in given_tags().items() if name.lower() not in rows}
    for row in rows.values():
        tag = str(row.get("ollama") or "").lower()
        if not tag:
            continue
        owner = owners.setdefault(tag, str(row["name"]))
        if owner != row["name"]:
            raise LabDashError(
                f"{row['name']}: ollama {tag} is the tag of {owner} already: "
                f"name the entry {owner} to replace that"
            )


def _check_replaced(rows: Mapping[str, Row]) -> None:
    """Refuse what would take one of LabDash's away: pages reckon with those, by their tags."""
    tags = {str(row.get("ollama") or "").lower() for row in rows.values()}
    replaced = [model for model in given_models() if model.name.lower() in rows]
    for model in replaced:
        if model.ollama and model.ollama.lower() not in tags:
            raise LabDashError(
                f"{model.name} comes with LabDash as {model.ollama}: "
                "give the entry that ollama, or another name"
            )
        if _can_be_estimated(model) and (fault := _fault(rows[model.name.lower()])):
            raise LabDashError(
                f"{model.name} comes with LabDash, which reckons with it: give the entry a shape "
                f"that can be estimated, or another name: {fault}"
            )


def _can_be_estimated(model: CatalogModel) -> bool:
    try:
        tensors_of(model.metadata, tied=bool(model.tied))
    except PlannerError:
        return False
    return True


def _fault(row: Row) -> str:
    """Say why an entry cannot be estimated, nothing where it can."""
    try:
        _tensors(row)
    except PlannerError as error:
        return str(error)
    return ""


def _read(path: Path) -> tuple[Row, ...]:
    """Read what there is. One that is damaged is not written over."""
    try:
        return read_own(path)
    except PlannerError as error:
        raise LabDashError(
            f"the lab's own entries cannot be read, so nothing was changed: {error}; "
            f"mend {path}, or put {_before(path).name} in its place"
        ) from None


@contextmanager
def _held() -> Iterator[Path]:
    """Let one change after another be made, whichever process makes it."""
    path = entries_path()
    try:
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        raise LabDashError(f"no lab here yet, in {path.parent}: run deploy/up") from None
    except OSError as error:
        raise LabDashError(f"cannot write in {path.parent}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path
    finally:
        os.close(lock)


def _write(path: Path, rows: Iterable[Row]) -> None:
    """Put a new file in the place of the old, which is kept beside it."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if len(content := text.encode()) > LONGEST_BYTES:
        raise LabDashError(f"the lab's own entries would take more than {LONGEST_BYTES >> 20} MiB")
    _check_readable(text)
    draft = path.with_suffix(".draft")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            older = path.with_suffix(".older")
            older.unlink(missing_ok=True)
            older.hardlink_to(path)
            older.replace(_before(path))
        draft.replace(path)
        look_now()
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise LabDashError(
            f"cannot write {path}, so nothing was changed: {error.strerror}"
        ) from None


def _check_readable(text: str) -> None:
    """Let nothing be kept that would not be read again, as all entries would go with it."""
    try:
        read_entries(text) if text else ()
    except PlannerError as error:
        raise LabDashError(
            f"this would not be read again, so nothing was changed: {error}"
        ) from None


def _before(path: Path) -> Path:
    return path.with_name(f"{path.name}.before")
