"""Published versions and installed ones, in one line each."""

from typing import Any

from labdash.models import (
    Family,
    InstalledModel,
    Instance,
    Manifest,
    UpstreamManifest,
    UpstreamTag,
    Variant,
)
from labdash.queries.radar import Copy, read_radar
from tests.factories import GIB, WHEN, make_installed

MODEL = "qwen3:8b"
OLD, NEW = "a" * 64, "b" * 64
WEIGHTS, NEW_WEIGHTS = "1" * 64, "2" * 64
TEXTS = {"template": 60, "params": 40}


def layers(weights: str = WEIGHTS, **digests: str) -> list[list[object]]:
    """Return the files of a version: its weights, a template, and parameters."""
    texts = [[digests.get(kind, kind.ljust(64, "0")), n, kind] for kind, n in TEXTS.items()]
    return [[weights, 5 * GIB, "model"], *texts]


def publish(
    name: str = MODEL, *, digest: str = NEW, requires: str = "", files: Any = None, **fields: Any
) -> UpstreamTag:
    """Let a version be published under a name."""
    manifest, _ = UpstreamManifest.objects.get_or_create(
        digest=digest,
        defaults={
            "layers": layers(NEW_WEIGHTS) if files is None else files,
            "requires": requires,
            "first_seen_at": WHEN,
        },
    )
    values = {
        "host": "registry.ollama.ai",
        "state": "there",
        "was_there": True,
        "manifest": manifest,
        "checked_at": WHEN,
        "next_at": WHEN,
        **fields,
    }
    tag, _ = UpstreamTag.objects.update_or_create(name=name, defaults=values)
    return tag


def install(
    instance: Instance,
    name: str = MODEL,
    *,
    digest: str = OLD,
    weights: str = WEIGHTS,
    told: bool = False,
    **fields: Any,
) -> InstalledModel:
    """Let a server have a version; ``told``: it tells the files of it too."""
    family, _ = Family.objects.get_or_create(name=MODEL)
    variant, _ = Variant.objects.get_or_create(blob_digest=weights, defaults={"family": family})
    if told:
        Manifest.objects.get_or_create(
            instance=instance, digest=digest, defaults={"layers": layers(weights)}
        )
    values = {"size_bytes": 5 * GIB + 100, "digest": digest, "variant": variant, **fields}
    found = InstalledModel.objects.filter(instance=instance, name=name)
    if found.exists():
        found.update(**values)
        return found.get()
    return make_installed(instance, name, **values)


def copy_of(instance: Instance, name: str = MODEL) -> Copy:
    """Return how a name on a server compares."""
    copies = [copy for line in read_radar() for copy in line.copies]
    return next(c for c in copies if c.instance == instance and c.installed.name == name)
