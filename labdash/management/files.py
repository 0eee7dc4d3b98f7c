"""Files that users name on the command line."""

import sys
from pathlib import Path

from labdash.domain.errors import LabDashError

# Longer than any lab's file.
LONGEST_BYTES = 4 << 20


def read_text(path: str) -> str:
    """Read a text, ``-`` for standard input. Raises ``LabDashError``."""
    try:
        with sys.stdin.buffer if path == "-" else Path(path).open("rb") as file:
            content = file.read(LONGEST_BYTES + 1)
    except OSError as error:
        raise LabDashError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > LONGEST_BYTES:
        raise LabDashError(
            f"{path} is too large: of a file at most {LONGEST_BYTES >> 20} MiB are read"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabDashError(f"{path} is no text in UTF-8") from error
