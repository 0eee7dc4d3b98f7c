"""What is installed in a lab, sorted by the model of the catalog that it is a file of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from labdash.catalog.models import CatalogModel, Found, find_model
from labdash.catalog.own import kept
from labdash.planner.errors import PlannerError
from labdash.planner.lab import Lab
from labdash.planner.placing.inventory import plain
from labdash.planner.telling.names import FOLDER
from labdash.queries.quant_ladder import known_quant
from labdash.queries.tag_names import is_on_hub


@dataclass(frozen=True, kw_only=True)
class Have:
    """A name that an instance has. What is not known of it stays empty.

    ``family`` is what its weights were first installed as, ``digest`` that of its weights.
    ``vision`` tells whether it reads images.
    """

    name: str
    family: str = ""
    quant: str | None = None
    digest: str | None = None
    size_bytes: int | None = None
    vision: bool | None = None


@dataclass(frozen=True)
class Shelf:
    """All names of a lab's instances.

    ``offered`` are all names that can be pulled at all, in small letters, where a registry has few
    of them; empty where nobody can list them. ``cloud`` are plain names without weights here.
    """

    haves: tuple[Have, ...] = ()
    offered: frozenset[str] = frozenset()
    cloud: frozenset[str] = frozenset()

    @cached_property
    def by_name(self) -> Mapping[str, Have]:
        """Return them by plain names in small letters; of several, one that tells its digest."""
        told = sorted(self.haves, key=lambda have: have.digest is not None)
        return {plain(have.name): have for have in told}

    @cached_property
    def by_model(self) -> Mapping[str, tuple[Have, ...]]:
        """Return those of each model of the catalog, by its name there."""
        found: dict[str, list[Have]] = {}
        for have in self.haves:
            if model := _model_of(have):
                found.setdefault(model.name, []).append(have)
        return {name: tuple(dict.fromkeys(haves)) for name, haves in found.items()}

    def of(self, known: CatalogModel, quant: str) -> tuple[Have, ...]:
        """Return the files of a model's quant."""
        return tuple(h for h in self.by_model.get(known.name, ()) if quant_of(h, known) == quant)

    def is_blind(self, known: CatalogModel) -> bool:
        """Whether files of Ollama's library of a model were seen, and none reads images."""
        return known.name in self.blind

    @cached_property
    def blind(self) -> frozenset[str]:
        """Return the names of such models."""
        return frozenset(name for name, haves in self.by_model.items() if _are_blind(haves))

    def names_of(self, digest: str | None) -> Iterable[str]:
        """Return all names that stand for the same weights."""
        return (have.name for have in self.haves if digest and have.digest == digest)


def _are_blind(haves: Iterable[Have]) -> bool:
    told = [have.vision for have in haves if not is_on_hub(have.name)]
    return False in told and True not in told


def shelf_of(lab: Lab) -> Shelf:
    """Return what the instances of a lab have, as far as a lab tells it."""
    servers = [server for node in lab.nodes for server in node.instances]
    haves = (
        Have(name=name, digest=server.blobs.get(name))
        for server in servers
        for name in server.installed
    )
    return Shelf(tuple(dict.fromkeys(haves)))


def quant_of(have: Have, known: CatalogModel) -> str | None:
    """Tell the quant of a file: as its server says, else by its name, else the usual one."""
    if have.quant:
        return known_quant(have.quant)
    found = find(have.name)
    return known_quant((found.quant if found else None) or default_quant(known))


def default_quant(known: CatalogModel) -> str | None:
    """Tell the quant of the library's own tag, or the only one of which a file is known."""
    quants = {file.quant for file in known.files}
    return known.default_quant or (next(iter(quants)) if len(quants) == 1 else None)


def _model_of(have: Have) -> CatalogModel | None:
    """Tell by its own name what is published: others may be tuned further, whatever their family.

    Those of the same weights are found by their digest, as those that LabDash itself made.
    """
    found = None if plain(have.name).startswith(FOLDER) else find(have.name)
    return found.model if found else None


@kept(4096)
def find(name: str) -> Found | None:
    """Find a model of the catalog, None where it is not known.

    Some put the maker before a repository's name: ``bartowski/Qwen_Qwen3-14B-GGUF``.
    """
    path, slash, repository = name.rpartition("/")
    maker, _, rest = repository.partition("_")
    tried = [name, f"{path}{slash}{rest}"] if slash and maker and rest else [name]
    for each in filter(None, tried):
        try:
            return find_model(each)
        except PlannerError:
            continue
    return None
