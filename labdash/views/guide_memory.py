"""Chapter of the guide: why memory decides."""

from collections.abc import Mapping

from django.http import HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.planner.errors import PlannerError
from labdash.planner.ggml import row_bytes
from labdash.queries.guide_memory import (
    CARD,
    CONTEXTS,
    PRESETS,
    Memory,
    card_speeds_gbs,
    overheads_bytes,
    ram_speeds_gbs,
    read_memory,
    read_params,
)
from labdash.queries.guide_models import catalog_names, nearest
from labdash.queries.guide_numbers import number_formats
from labdash.queries.guide_places import model_room
from labdash.queries.guide_reader import Reader, fits_here, read_reader
from labdash.views.guide import asked_context, chapter_page
from labdash.views.http import Request, sentence

# Bits a number of the cache's types: q8_0 keeps a scale beside each group of 32.
KV_SHARE = row_bytes("q8_0", 32) / row_bytes("f16", 32)
# Q8_0 has 127 steps on either side and rounds to the nearer one.
Q8_STEP = 0.5 / 127
FIRST_SIZE = "7B"
FIRST_CONTEXT = 8192


@require_safe
def guide_memory(request: Request) -> HttpResponse:
    """Show what weights take in each format, alone and with all that comes beside them."""
    size = request.GET.get("size", FIRST_SIZE)[:40].strip() or FIRST_SIZE
    name = request.GET.get("model", "")[:200].strip()
    found, error = None, ""
    try:
        ctx = asked_context(request, FIRST_CONTEXT)
        found = read_memory(size=size, name=name, ctx=ctx)
    except PlannerError as problem:
        error = sentence(str(problem))
    reader = read_reader(request.GET.get("at", ""), now=timezone.now())
    usual = found.model if found else nearest(read_params(FIRST_SIZE))
    formats = number_formats()
    return chapter_page(
        request,
        "memory",
        error=error,
        seen=found,
        reader=reader,
        here=_here(reader, found),
        there="" if reader.place.node else reader.title,
        size=size,
        model=name,
        context=request.GET.get("context", str(FIRST_CONTEXT)),
        contexts=CONTEXTS,
        presets=PRESETS,
        card=CARD,
        names=catalog_names(),
        formats=[(each, usual.pull_name(each.quant)) for each in formats],
        of_format={each.name: each for each in formats},
        first_bytes=[read_params(FIRST_SIZE) * bits / 8 for bits in (32, 4)],
        first_size=FIRST_SIZE,
        cards=card_speeds_gbs(),
        ram=ram_speeds_gbs(),
        overheads=overheads_bytes(),
        usual=usual,
        kv_share=KV_SHARE,
        q8_step=Q8_STEP,
    )


def _here(reader: Reader, found: Memory | None) -> Mapping[str, bool]:
    """Tell which rows fit; of a size alone there is no file that could be tried."""
    if found is None or not found.is_chosen:
        return {}
    fits = fits_here(reader, found.model.name, [row.quant for row in found.gguf], found.ctx)
    room = model_room(reader.place)
    plain = {row.label: row.total_bytes <= room for row in found.plain} if room else {}
    return {**plain, **fits}
