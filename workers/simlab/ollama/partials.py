"""Unfinished downloads as they lie among the blobs: part files, and the disk that they take."""

from collections.abc import Iterable
from pathlib import Path

from workers.simlab.machine import Machine, NoSpace
from workers.simlab.ollama.parts import Part, part_text, read_part


class Partials:
    """``<blob>-partial`` tells the disk taken, ``<blob>-partial-<n>`` how far each part is."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        self._folder = folder
        self._machine = machine

    def read(self, digest: str) -> list[Part]:
        """Read the parts of an unfinished download. Raises PartFileError on an empty file."""
        paths = self._folder.glob(f"{self._path(digest, '-').name}*")
        return sorted((read_part(path) for path in paths), key=lambda part: part.number)

    def write(self, digest: str, parts: Iterable[Part]) -> None:
        """Save how far each part is."""
        for part in parts:
            self._path(digest, f"-{part.number}").write_text(part_text(part))

    def spoil(self, digest: str) -> None:
        """Leave the first part file empty, as a server that is stopped in a pull often does."""
        self._path(digest, "-0").write_text("")

    def taken_bytes(self, digest: str) -> int:
        """Tell how much disk an unfinished download takes."""
        path = self._path(digest)
        return int(path.read_text()) if path.is_file() else 0

    def total_bytes(self) -> int:
        """Tell how much disk all of them take."""
        return sum(int(path.read_text()) for path in self._folder.glob("*-partial"))

    def grow(self, digest: str, size_bytes: int) -> None:
        """Let an unfinished download take ``size_bytes`` of disk in all. Raises NoSpace.

        What is left of the disk is taken all the same, as a write that fails does.
        """
        taken = self.taken_bytes(digest)
        more = min(max(size_bytes - taken, 0), self._machine.disk_free_bytes)
        if more:
            self._machine.take_disk(more)
            self._path(digest).write_text(str(taken + more))
        if taken + more < size_bytes:
            raise NoSpace(digest)

    def drop(self, digest: str, *, give_disk: bool = True) -> None:
        """Remove all traces of an unfinished download."""
        if give_disk:
            self._machine.give_disk(self.taken_bytes(digest))
        for path in self._folder.glob(f"{self._path(digest).name}*"):
            path.unlink()

    def _path(self, digest: str, ending: str = "") -> Path:
        return self._folder / f"{digest.replace(':', '-')}-partial{ending}"
