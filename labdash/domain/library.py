"""Inventories of instances become families, variants and installed models."""

import re
from collections.abc import Iterable
from datetime import datetime

from django.db import transaction

from labdash.domain.telemetry import UNWATCHED_AFTER
from labdash.models import Family, InstalledModel, Instance, Manifest, Variant
from workers import wire

# A size as tags begin with it: 14b, 1.5b, 270m, 8x7b, 30b-a3b, e4b.
_SIZE = re.compile(r"(?:e|\d+x)?\d+(?:\.\d+)?[bmk](?:-a\d+(?:\.\d+)?b)?(?=-|$)", re.IGNORECASE)
_FACTS = ("variant_id", "digest", "size_bytes", "modified_at", "is_cloud", "parent_model")


def record_inventory(report: wire.Inventory, *, arrived_at: datetime) -> bool:
    """Make the rows of an instance say what the report says; false for an unknown instance."""
    with transaction.atomic():
        instance = Instance.objects.filter(node__slug=report.node, name=report.instance).first()
        if instance is None:
            return False
        variants = _variants(report.models)
        known = {row.name: row for row in instance.installed_models.all()}
        named = {model.name: model for model in report.models}
        fresh = [_installed(instance, model, variants) for model in named.values()]
        _save_changes(known, fresh)
        _note_gap(instance, arrived_at)
        _save_layers(instance, named.values())
        gone = [row.pk for name, row in known.items() if name not in {new.name for new in fresh}]
        if gone:
            InstalledModel.objects.filter(pk__in=gone).delete()
        instance.inventory_at = arrived_at
        instance.version = (report.version or instance.version)[:40]
        instance.shelf = report.shelf.model_dump(mode="json") if report.shelf else None
        instance.save(update_fields=["inventory_at", "version", "shelf"])
    return True


def family_name(name: str, parameter_size: str | None) -> str:
    """Name a family as ``qwen3:14b``: the model with its size.

    The size comes from the tag, else from what Ollama says of the file (``14.8B``), else none.
    """
    model, _, tag = name.rpartition(":")
    if not model or "/" in tag:
        model, tag = name, ""
    found = _SIZE.match(tag)
    size = found.group() if found else (parameter_size or "")
    return f"{model}:{size.lower()}"[:120] if size else model[:120]


def _installed(
    instance: Instance, model: wire.InstalledModel, variants: dict[str, Variant]
) -> InstalledModel:
    return InstalledModel(
        instance=instance,
        variant=variants.get(model.name),
        name=model.name[:350],
        digest=model.digest[:64],
        size_bytes=model.size_bytes,
        modified_at=model.modified_at,
        is_cloud=model.is_cloud,
        parent_model=(model.parent_model or "")[:350],
    )


def _save_changes(known: dict[str, InstalledModel], fresh: list[InstalledModel]) -> None:
    changed, added = [], []
    for row in fresh:
        old = known.get(row.name)
        if old is None:
            added.append(row)
        elif any(getattr(old, field) != getattr(row, field) for field in _FACTS):
            row.pk = old.pk
            changed.append(row)
    InstalledModel.objects.bulk_update(changed, _FACTS)
    InstalledModel.objects.bulk_create(added)


def _note_gap(instance: Instance, arrived_at: datetime) -> None:
    """Begin anew the time in which a model was seen unused, once its server told nothing for long.

    It may have been off, or out of sight.
    """
    told_at = instance.inventory_at
    if told_at is not None and arrived_at - told_at > UNWATCHED_AFTER:
        instance.installed_models.update(first_seen_at=arrived_at)


def _save_layers(instance: Instance, models: Iterable[wire.InstalledModel]) -> None:
    """Keep the files of each manifest that was told; a digest always stands for the same ones."""
    told = {model.digest[:64]: model.layers for model in models if model.layers is not None}
    known = set(instance.manifests.values_list("digest", flat=True))
    fresh = [
        Manifest(instance=instance, digest=digest, layers=[_layer(each) for each in layers])
        for digest, layers in told.items()
        if digest not in known
    ]
    Manifest.objects.bulk_create(fresh, ignore_conflicts=True)
    if gone := known - told.keys():
        instance.manifests.filter(digest__in=gone).delete()


def _layer(layer: wire.Layer) -> list[str | int]:
    return [layer.digest, layer.size_bytes, layer.kind[:30]]


def _variants(models: tuple[wire.InstalledModel, ...]) -> dict[str, Variant]:
    """Return the variant of each name that has weights, made where it is new.

    Names that share a file share its variant, under the family of the name that tells a size.
    """
    digests = {model.blob_digest for model in models if model.blob_digest}
    by_blob = {
        row.blob_digest: row
        for row in Variant.objects.filter(blob_digest__in=digests).select_related("family")
    }
    variants = {}
    for model in sorted(models, key=_tells_size, reverse=True):
        if model.is_cloud:
            continue
        row = by_blob.get(model.blob_digest) if model.blob_digest else _without_blob(model)
        if row is None:
            row = _new_variant(model, model.blob_digest)
            by_blob[model.blob_digest] = row
        _note_vision(row, model)
        variants[model.name] = row
    return variants


def _note_vision(row: Variant, model: wire.InstalledModel) -> None:
    """Keep whether a file reads images, as far as its server says what it can do."""
    sees = "vision" in model.capabilities if model.capabilities else None
    if sees is not None and row.vision != sees:
        row.vision = sees
        row.save(update_fields=["vision"])


def _tells_size(model: wire.InstalledModel) -> bool:
    """Whether a name is Ollama's own with a size in its tag, and no derived one."""
    tag = model.name.rpartition(":")[2]
    return not model.parent_model and _SIZE.match(tag) is not None


def _without_blob(model: wire.InstalledModel) -> Variant:
    """Tell variants apart by what is left where the digest of the weights is unknown."""
    family = _family(model)
    row = Variant.objects.filter(
        family=family,
        quant=(model.quant or "")[:30],
        blob_digest=None,
        size_bytes=model.size_bytes,
    ).first()
    return row or _new_variant(model, None)


def _new_variant(model: wire.InstalledModel, blob_digest: str | None) -> Variant:
    return Variant.objects.create(
        family=_family(model),
        quant=(model.quant or "")[:30],
        format=(model.format or "gguf")[:20],
        blob_digest=blob_digest,
        size_bytes=model.size_bytes,
    )


def _family(model: wire.InstalledModel) -> Family:
    family, _ = Family.objects.get_or_create(
        name=family_name(model.name, model.parameter_size),
        defaults={
            "architecture": (model.architecture or "")[:60],
            "parameter_count": model.parameter_count,
            "context_length": model.context_length,
        },
    )
    return family
