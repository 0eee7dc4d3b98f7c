"""Names inside of files and commands, so that none of them is read as anything else."""

import re
from collections.abc import Iterable

from labdash.planner.telling.words import one_line

PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


def shell(text: str) -> str:
    """Quote one argument for a POSIX shell."""
    line = one_line(text)
    if PLAIN.fullmatch(line):
        return line
    return "'" + line.replace("'", "'\"'\"'") + "'"


def command(arguments: Iterable[str]) -> str:
    """Write a command of arguments, each quoted where that is needed."""
    return " ".join(shell(each) for each in arguments)


def comment(text: str) -> str:
    """Write one line that is neither read by a shell nor in a Modelfile."""
    return f"# {one_line(text)}"


def modelfile_value(text: str) -> str:
    """Quote what comes after ``FROM`` in a Modelfile, which knows no escapes."""
    line = one_line(text).strip()
    return f'"""{line}"""' if line.startswith('"') else line
