"""What is known of model names: their quant, and the colour that each keeps on every page."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from labdash.models import InstalledModel

# As many as the style sheet has colours for models.
COLOURS = 6


@dataclass(frozen=True, kw_only=True)
class Library:
    """Installed names. ``families`` and ``quants`` are keyed by name without ``:latest``."""

    families: Mapping[str, int]
    quants: Mapping[str, str]

    def colour(self, name: str) -> int:
        """Return 1 to ``COLOURS``: by family where the name is installed, else by the name."""
        number = self.families.get(plain_name(name))
        if number is None:
            number = zlib.crc32(plain_name(name).encode())
        return number % COLOURS + 1

    def quant(self, name: str) -> str:
        """Return the quant of a name, or nothing where it is not known."""
        return self.quants.get(plain_name(name), "")


def plain_name(name: str) -> str:
    """Drop ``:latest``, which Ollama adds to names without a tag."""
    return name.removesuffix(":latest")


def read_library() -> Library:
    """Read the names of all instances with one query."""
    rows = InstalledModel.objects.filter(is_cloud=False).values_list(
        "name", "variant__family_id", "variant__quant"
    )
    families, quants = {}, {}
    for name, family_id, quant in rows:
        if family_id is not None:
            families[plain_name(name)] = family_id
            quants[plain_name(name)] = quant or ""
    return Library(families=families, quants=quants)
