"""What is known of model names: their quant, and the colour that each keeps on every page."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from labdash.models import InstalledModel
from labdash.queries.shelf import Have, Shelf

# As many as the style sheet has colours for models.
COLOURS = 6


@dataclass(frozen=True, kw_only=True)
class Library:
    """Installed names. ``families`` is keyed by name, ``quants`` by node and name.

    ``sights`` are names with whether they read images, where that is told.
    """

    families: Mapping[str, int]
    quants: Mapping[tuple[str, str], str]
    sights: frozenset[tuple[str, bool]] = frozenset()

    @cached_property
    def blind(self) -> frozenset[str]:
        """Return the catalog's models of which the lab's files from the library read no images."""
        return Shelf(tuple(Have(name=name, vision=sees) for name, sees in self.sights)).blind

    def colour(self, name: str) -> int:
        """Return 1 to ``COLOURS``: by family where the name is installed, else by the name."""
        number = self.families.get(plain_name(name))
        if number is None:
            number = zlib.crc32(plain_name(name).encode())
        return number % COLOURS + 1

    def quant(self, slug: str, name: str) -> str:
        """Return the quant of a name on a node, or nothing where it is not known."""
        return self.quants.get((slug, plain_name(name)), "")


def plain_name(name: str) -> str:
    """Drop ``:latest``, which Ollama adds to names without a tag."""
    return name.removesuffix(":latest")


def read_library() -> Library:
    """Read the names of all instances with one query."""
    rows = InstalledModel.objects.filter(is_cloud=False, variant__isnull=False).values_list(
        "instance__node__slug", "name", "variant__family_id", "variant__quant", "variant__vision"
    )
    found = [
        (slug, plain_name(name), family, quant, sees) for slug, name, family, quant, sees in rows
    ]
    return Library(
        families={name: family for _, name, family, _, _ in found},
        quants={(slug, name): quant for slug, name, _, quant, _ in found},
        sights=frozenset((name, sees) for _, name, _, _, sees in found if sees is not None),
    )
