"""What lies and runs where: what a place would have to download for a variant, or to take over."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from labdash.planner.lab import Deployment, Instance, Lab, Variant


def plain(name: str) -> str:
    """Write a model's name as it is compared: in small letters, without ``:latest``."""
    return name.lower().removesuffix(":latest")


def is_cloud(name: str) -> bool:
    """Tell whether a name is of Ollama's cloud: its tag is ``cloud``, or ends with ``-cloud``."""
    tag = name.rpartition("/")[2].lower().partition(":")[2]
    return tag == "cloud" or tag.endswith("-cloud")


def bare_digest(text: str) -> str:
    """Write a digest as it is compared."""
    return text.lower().removeprefix("sha256:")


def names_of(variant: Variant) -> frozenset[str]:
    """Return all names under which a variant may be installed."""
    return frozenset(plain(name) for name in (variant.name, *variant.names))


def blob_key(variant: Variant) -> str:
    """Name the file that a runner serves: two variants of one key share it."""
    return bare_digest(variant.digest) if variant.digest else plain(variant.name)


def download_bytes(variant: Variant) -> int:
    """Tell what a pull fetches, at least the weights where nobody knows."""
    return variant.file_bytes or variant.model.weight_bytes + variant.projector_bytes


def weights_bytes(variant: Variant) -> int:
    """Tell what is loaded from the disk."""
    return variant.model.weight_bytes + variant.projector_bytes


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a model runs now. ``gpus`` are the node's numbers, empty where nothing measures it."""

    instance: str
    gpus: frozenset[int]

    def is_at(self, instance: str, gpus: Iterable[int]) -> bool:
        """Tell whether this is the place that is meant."""
        return self.instance == instance and (not self.gpus or self.gpus == frozenset(gpus))


@dataclass(frozen=True, eq=False)
class Inventory:
    """Instances by what is installed there, by name and by digest, and spots by either.

    What runs under another name, as an alias with options, is known by its digest.
    """

    names: Mapping[str, frozenset[str]]
    digests: Mapping[str, frozenset[str]]
    running: Mapping[str, tuple[Spot, ...]]

    def holders(self, variant: Variant) -> frozenset[str]:
        """Return the instances that have a variant."""
        found = [self.names.get(name, frozenset()) for name in names_of(variant)]
        if variant.digest:
            found.append(self.digests.get(bare_digest(variant.digest), frozenset()))
        return frozenset().union(*found)

    def spots(self, deployment: Deployment) -> tuple[Spot, ...]:
        """Tell where any variant of a deployment runs now."""
        keys = frozenset().union(*map(names_of, deployment.variants))
        keys |= {bare_digest(each.digest) for each in deployment.variants if each.digest}
        found = (spot for key in sorted(keys) for spot in self.running.get(key, ()))
        return tuple(dict.fromkeys(found))


@lru_cache(maxsize=8)
def inventory_of(lab: Lab) -> Inventory:
    """Look through a lab."""
    names: dict[str, set[str]] = {}
    digests: dict[str, set[str]] = {}
    running: dict[str, list[Spot]] = {}
    for node in lab.nodes:
        for each in node.instances:
            for name in each.installed:
                names.setdefault(plain(name), set()).add(each.name)
            for digest in each.blobs.values():
                digests.setdefault(bare_digest(digest), set()).add(each.name)
            for name, spot in _spots(each):
                running.setdefault(name, []).append(spot)
    return Inventory(
        {name: frozenset(held) for name, held in names.items()},
        {digest: frozenset(held) for digest, held in digests.items()},
        {name: tuple(spots) for name, spots in running.items()},
    )


def is_installed(variant: Variant, instance: Instance) -> bool:
    """Tell whether one server has a variant."""
    digests = {bare_digest(digest) for digest in instance.blobs.values()}
    installed = {plain(name) for name in instance.installed}
    known = variant.digest is not None and bare_digest(variant.digest) in digests
    return known or bool(names_of(variant) & installed)


def _spots(instance: Instance) -> Iterable[tuple[str, Spot]]:
    blobs = {plain(name): digest for name, digest in instance.blobs.items()}
    for each in instance.running:
        spot = Spot(instance.name, frozenset(gpu for gpu, size in each.gpu_bytes.items() if size))
        yield plain(each.name), spot
        if digest := blobs.get(plain(each.name)):
            yield bare_digest(digest), spot
