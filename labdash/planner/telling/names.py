"""Under which names models are known on their instances."""

from labdash.planner.lab import Deployment, Instance, Variant
from labdash.planner.placing.inventory import bare_digest, names_of, plain
from labdash.planner.plan import Placement

FOLDER = "labdash/"
KEPT = "._-"


def alias_of(deployment_name: str) -> str:
    """Name the derived model that holds a deployment's options: ``labdash/qwen3-32b``."""
    lower = deployment_name.lower()
    plain = "".join(c if (c.isascii() and c.isalnum()) or c in KEPT else "-" for c in lower)
    return FOLDER + plain


def served_name(deployment: Deployment, variant: Variant) -> str:
    """Tell under which name clients ask for it."""
    return variant.name if deployment.same_name else alias_of(deployment.name)


def served(placement: Placement) -> str:
    """Tell under which name clients ask for what is placed."""
    return served_name(placement.deployment, placement.choice.variant)


def is_of(name: str, variant: Variant, instance: Instance) -> bool:
    """Whether a model of an instance has a variant's weights."""
    blob = blob_of(name, instance)
    if blob is not None and variant.digest is not None:
        return bare_digest(blob) == bare_digest(variant.digest)
    return plain(name) in names_of(variant)


def blob_of(name: str, instance: Instance) -> str | None:
    """Tell the digest of the weights behind a name, where it is known."""
    return next((blob for each, blob in instance.blobs.items() if plain(each) == plain(name)), None)
