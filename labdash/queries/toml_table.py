"""Values out of a TOML table, each of the right kind or refused in one line that says where."""

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from math import isfinite
from typing import Any

from labdash.planner.errors import PlannerError
from labdash.wording import GIB

# Larger than anything in a home.
MOST_GIB = 1 << 24
LONGEST = 350


class Table:
    """One table. ``where`` names it to the user."""

    def __init__(self, values: Any, where: str, *, known: Collection[str]) -> None:
        """Refuse keys that are not ``known``, with the nearest that is."""
        if not isinstance(values, Mapping):
            raise PlannerError(f"{where} is no table")
        self._values = values
        self._where = where
        for key in values:
            if key not in known:
                raise self.error(f"there is no key {key[:40]!r}{_hint(key, known)}")

    def error(self, text: str) -> PlannerError:
        """Return what is wrong, with the place."""
        return PlannerError(f"{self._where}: {text}" if self._where else text)

    def named(self, name: str) -> None:
        """Name the table better, for what follows."""
        self._where = f"{self._where} ({name})"

    def has(self, key: str) -> bool:
        """Whether the user wrote a key."""
        return key in self._values

    def text(self, key: str, default: str | None = None) -> str:
        """Take a text on one line. Without a default it must be there."""
        if key not in self._values and default is not None:
            return default
        return self._line(key, self._needed(key))

    def texts(self, key: str) -> tuple[str, ...]:
        """Take a list of texts, empty where it is left out."""
        return tuple(self._line(key, each) for each in self._list(key))

    def choice[T: str](self, key: str, options: Collection[T], default: T) -> T:
        """Take one of several words."""
        value = self._values.get(key, default)
        found = next((option for option in options if option == value), None)
        if found is None:
            raise self.error(f"{key} is {_shown(value)}, and not one of {', '.join(options)}")
        return found

    def choices[T: str](self, key: str, options: Collection[T]) -> tuple[T, ...]:
        """Take a list of different words out of several."""
        found = []
        for value in self._list(key):
            match = next((option for option in options if option == value), None)
            if match is None or match in found:
                raise self.error(f"{key} lists {_shown(value)}: use {', '.join(options)}, once")
            found.append(match)
        return tuple(found)

    def flag(self, key: str) -> bool:
        """Take true or false, false where it is left out."""
        value = self._values.get(key, False)
        if not isinstance(value, bool):
            raise self.error(f"{key} is {_shown(value)}, and not true or false")
        return value

    def number(self, key: str, *, most: float = MOST_GIB, above: float = 0) -> float | None:
        """Take a number of at least ``above``, None where it is left out."""
        if key not in self._values:
            return None
        return self._number(key, self._values[key], above, most)

    def whole(self, key: str, *, least: int, most: int) -> int | None:
        """Take a whole number, None where it is left out."""
        if key not in self._values:
            return None
        return self._whole(key, self._values[key], least, most)

    def wholes(self, key: str, *, most: int) -> tuple[int, ...] | None:
        """Take a list of different whole numbers from 0, None where it is left out."""
        if key not in self._values:
            return None
        found = tuple(self._whole(key, each, 0, most) for each in self._list(key))
        if len(set(found)) < len(found):
            raise self.error(f"{key} lists a number twice")
        return found

    def size(self, key: str) -> int | None:
        """Take GiB as bytes, None where they are left out."""
        value = self.number(key)
        return None if value is None else round(value * GIB)

    def sizes(self, key: str) -> tuple[int, ...]:
        """Take a list of GiB as bytes."""
        numbers = (self._number(key, each, 0, MOST_GIB) for each in self._list(key))
        return tuple(round(each * GIB) for each in numbers)

    def table(self, key: str, *, known: Collection[str]) -> "Table":
        """Take an inner table, an empty one where it is left out."""
        return Table(self._values.get(key, {}), f"{self._where}: {key}", known=known)

    def words(self, key: str) -> Mapping[str, str]:
        """Take a table of texts by any names; numbers and truths are written as texts."""
        values = self._values.get(key, {})
        if not isinstance(values, Mapping):
            raise self.error(f"{key} is {_shown(values)}, and no table")
        return {name: self._word(f"{key}.{name}", value) for name, value in values.items()}

    def tables(self, key: str, *, known: Collection[str]) -> Iterable["Table"]:
        """Take a list of tables, numbered from 1."""
        for number, values in enumerate(self._list(key), start=1):
            where = f"{self._where}, {key} {number}" if self._where else f"{key} {number}"
            yield Table(values, where, known=known)

    def _needed(self, key: str) -> Any:
        if key not in self._values:
            raise self.error(f"it has no {key}")
        return self._values[key]

    def _list(self, key: str) -> list[Any]:
        values = self._values.get(key, [])
        if not isinstance(values, list):
            raise self.error(f"{key} is {_shown(values)}, and no list{_double(values, key)}")
        return values

    def _line(self, key: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self.error(f"{key} is {_shown(value)}, and no text")
        if not value.strip() or not value.isprintable() or len(value) > LONGEST:
            raise self.error(f"{key} is no text of 1 to {LONGEST} letters on one line")
        return value.strip()

    def _word(self, key: str, value: Any) -> str:
        if isinstance(value, bool):
            return "1" if value else "0"
        if isinstance(value, int | float) and isfinite(value):
            return str(value)
        if not isinstance(value, str) or not value.isprintable():
            raise self.error(f"{key} is {_shown(value)}, and no text")
        return value

    def _number(self, key: str, value: Any, least: float, most: float) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise self.error(f"{key} is {_shown(value)}, and no number")
        if not least <= value <= most:
            raise self.error(f"{key} is {_shown(value)}: it is from {least:g} to {most:g}")
        return float(value)

    def _whole(self, key: str, value: Any, least: int, most: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(f"{key} is {_shown(value)}, and no whole number")
        if not least <= value <= most:
            raise self.error(f"{key} is {_shown(value)}: it is from {least} to {most}")
        return value


def _hint(key: str, known: Collection[str]) -> str:
    near = get_close_matches(key, known, n=1, cutoff=0.0)
    return f"; the nearest is {near[0]}" if near else ""


def _double(values: Any, key: str) -> str:
    return f": write [[{key}]]" if isinstance(values, Mapping) else ""


def _shown(value: Any) -> str:
    """Write what was given, in a few letters."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."  # noqa: PLR2004 - a few
