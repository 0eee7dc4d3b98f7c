"""Let a server make a smaller file of a 16-bit one that it has."""

from django.contrib.auth.models import User

from labdash.domain import naming
from labdash.domain.errors import LabDashError
from labdash.models import InstalledModel, NameAct, NameJob
from labdash.planner.placing.inventory import plain
from labdash.queries.quantizing import QUANTS, own_name, size_of
from labdash.queries.room import room_for


def quantize(*, installed: InstalledModel, quant: str, user: User | None) -> NameJob:
    """Order it; a disk that has no room for it refuses it before the first byte.

    Raises ``LabDashError``.
    """
    variant = installed.variant
    if quant not in QUANTS or variant is None or not variant.can_be_quantized:
        raise LabDashError(f"Ollama makes {', '.join(QUANTS.values())} of F16, BF16 and F32 alone.")
    target, instance = own_name(installed.name, quant), installed.instance
    if plain(target) in {plain(row.name) for row in instance.installed_models.all()}:
        raise LabDashError(f"{target} is on {instance} already: delete it first.")
    room = room_for(instance, size_of(installed, quant))
    if room.fits is False:
        raise LabDashError(room.words)
    job = NameJob(
        instance=instance,
        act=NameAct.QUANTIZE,
        model=installed.name,
        target=target,
        digest=installed.digest,
        quant=quant,
        requested_by=user,
    )
    return naming.request(job)
