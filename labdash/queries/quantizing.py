"""Smaller files that a server can make of a 16-bit one: their exact size, loss, and room."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from labdash.catalog.quality import Quality, find_quality
from labdash.models import (
    InstalledModel,
    Instance,
    Manifest,
    NameAct,
    NameJob,
    UpstreamManifest,
)
from labdash.planner.errors import PlannerError
from labdash.planner.lab import Variant
from labdash.planner.model import Model
from labdash.planner.placing.inventory import plain
from labdash.planner.prospects import Prospect, prospect
from labdash.queries.before_pull import server_of
from labdash.queries.before_room import read_rooms
from labdash.queries.fit import kept_facts
from labdash.queries.fit_files import unpack
from labdash.queries.lab import LabView
from labdash.queries.opening import ALIGNMENT, is_remote, open_plain, requantized
from labdash.queries.quant_ladder import loss_of
from labdash.queries.room import Room, room_for
from labdash.queries.versions import files_of
from labdash.wording import lasted

# All that Ollama can make, by how orders write it.
QUANTS: Mapping[str, str] = {"q8_0": "Q8_0", "q4_K_M": "Q4_K_M", "q4_K_S": "Q4_K_S"}
# Where nobody knows the tensors: what files of usual models have.
USUAL_BITS: Mapping[str, float] = {"Q8_0": 8.5, "Q4_K_M": 4.9, "Q4_K_S": 4.6}
USUAL_CTX = 8192
# What a file's vocabulary and settings take; more is no header.
LONGEST_HEADER_BYTES = 64 * 2**20
JOBS_SHOWN = 5
_PLAIN_TAG = re.compile(r"-?\b(?:b?f(?:p)?(?:16|32))\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Smaller:
    """One file that could be made. ``is_exact``: ``bytes`` is what it takes, to the byte.

    ``quality`` is of a file made without an importance matrix. ``prospect`` is with the context
    ``USUAL_CTX`` on an otherwise free server, None where the model's shape is not known.
    """

    quant: str
    label: str
    target: str
    bytes: int | None
    is_exact: bool
    quality: Quality | None
    room: Room
    prospect: Prospect | None
    is_there: bool

    @property
    def can_be_made(self) -> bool:
        """Whether a click makes it: a disk without room refuses it before the first byte."""
        return not self.is_there and self.room.fits is not False


@dataclass(frozen=True, kw_only=True)
class JobLine:
    """An order to make one, in words."""

    job: NameJob
    words: str


def own_name(name: str, quant: str) -> str:
    """Name a file that was made here, so that none that is published has the same name."""
    path, _, tag = name.rpartition(":")
    kept = _PLAIN_TAG.sub("", tag).strip("-.") if tag != "latest" else ""
    return f"{path}:{'-'.join(filter(None, (kept, 'own', quant)))}"


def read_smaller(lab: LabView, installed: InstalledModel) -> tuple[Smaller, ...]:
    """Work out what could be made of an installed model."""
    model = _model(installed.name)
    header = _header_bytes(installed, model)
    names = {plain(row.name) for row in installed.instance.installed_models.all()}
    return tuple(
        _smaller(lab, installed, quant, label, model=model, header=header, names=names)
        for quant, label in QUANTS.items()
    )


def size_of(installed: InstalledModel, quant: str) -> int | None:
    """Tell how many bytes a file would take."""
    model = _model(installed.name)
    made = _made(model, QUANTS[quant])
    return _bytes(installed, QUANTS[quant], made, _header_bytes(installed, model))[0]


def read_jobs(instance: Instance, name: str, *, now: datetime) -> tuple[JobLine, ...]:
    """Return what was ordered of late."""
    rows = NameJob.objects.filter(instance=instance, act=NameAct.QUANTIZE, model__iexact=name)
    return tuple(JobLine(job=job, words=_words(job, now)) for job in rows[:JOBS_SHOWN])


def _words(job: NameJob, now: datetime) -> str:
    if not job.is_active:
        return job.get_state_display()
    if job.cancel_requested:
        return "cancelling"
    passed = lasted((now - job.created_at).total_seconds())
    return f"at it for {passed}; Ollama says nothing until it is nearly done"


def _smaller(  # noqa: PLR0913 - all of what one line follows from
    lab: LabView,
    installed: InstalledModel,
    quant: str,
    label: str,
    *,
    model: Model | None,
    header: int | None,
    names: Iterable[str],
) -> Smaller:
    target = own_name(installed.name, quant)
    made = _made(model, label)
    size, is_exact = _bytes(installed, label, made, header)
    return Smaller(
        quant=quant,
        label=label,
        target=target,
        bytes=size,
        is_exact=is_exact,
        quality=find_quality(label, imatrix=False),
        room=room_for(installed.instance, size),
        prospect=_prospect(lab, installed.instance, target, made) if made else None,
        is_there=plain(target) in names,
    )


def _model(name: str) -> Model | None:
    """Return the 16-bit model where the catalog knows it, or somebody read it lately."""
    try:
        if not is_remote(name):
            return open_plain(name).model
        facts = kept_facts(name)
        return unpack(facts).model if facts else None
    except PlannerError:
        return None


def _made(model: Model | None, label: str) -> Model | None:
    try:
        return requantized(model, label, imatrix=False) if model else None
    except PlannerError:
        return None


def _bytes(
    installed: InstalledModel, label: str, made: Model | None, header: int | None
) -> tuple[int | None, bool]:
    if made is not None and header is not None:
        return header + _padded(made), True
    if made is not None:
        return made.weight_bytes, False
    family = installed.variant.family if installed.variant else None
    count = family.parameter_count if family else None
    return (int(count * USUAL_BITS[label] / 8) if count else None), False


def _header_bytes(installed: InstalledModel, model: Model | None) -> int | None:
    """Tell what of the file that is here are no tensors: the smaller one has the same."""
    weights = _weights_bytes(installed)
    if model is None or weights is None or installed.variant is None:
        return None
    whole = _made(model, installed.variant.quant.upper())
    header = weights - _padded(whole) if whole else -1
    return header if 0 < header < LONGEST_HEADER_BYTES else None


def _weights_bytes(installed: InstalledModel) -> int | None:
    """Tell the size of the file of weights, by its server's word or by what was published."""
    own = Manifest.objects.filter(instance=installed.instance, digest=installed.digest).first()
    known = own or UpstreamManifest.objects.filter(digest=installed.digest).first()
    files = files_of(known.layers) if known else ()
    return next((file.bytes for file in files if file.kind == "model"), None)


def _padded(model: Model) -> int:
    return sum(-(-tensor.bytes // ALIGNMENT) * ALIGNMENT for tensor in model.tensors)


def _prospect(lab: LabView, instance: Instance, target: str, made: Model) -> Prospect:
    node = read_rooms(lab).free.get(instance.node.slug)
    server = server_of(node, instance) if node else None
    if node is None or server is None:
        return Prospect(verdict="unknown", text="its Ollama does not answer")
    quant = made.quant or ""
    variant = Variant(
        name=target, quant=quant, model=made, file_bytes=made.weight_bytes, loss=loss_of(quant)
    )
    try:
        return prospect(node, server, variant, USUAL_CTX)
    except PlannerError as error:
        return Prospect(verdict="no", text=str(error))
