"""Chapter of the guide: what quantization costs in quality."""

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from labdash.planner.errors import PlannerError
from labdash.planner.file_types import FILE_TYPES, find_file_type
from labdash.queries import guide_chart as chart
from labdash.queries.guide_mix import read_mix
from labdash.queries.guide_models import catalog_names, open_guide_model
from labdash.queries.guide_numbers import OUTLIER_SIGMAS, block_types, rounding
from labdash.queries.guide_quality import (
    FEW_BITS,
    MEASURED_ON,
    best_below,
    find_row,
    read_quality,
    rise_a_bit,
)
from labdash.views.guide import chapter_page
from labdash.views.http import Request, sentence

FIRST_MODEL, FIRST_QUANT = "llama3.1:8b", "Q4_K_M"


@require_safe
def guide_quality(request: Request) -> HttpResponse:
    """Show what was measured of each type, and which parts of a model a mix protects."""
    name = request.GET.get("model", "")[:200].strip() or FIRST_MODEL
    quant = request.GET.get("quant", "")[:20].strip() or FIRST_QUANT
    mix, pull, error = None, "", ""
    try:
        model, wanted = open_guide_model(name), find_file_type(quant).name
        mix = read_mix(model.plain, wanted)
        pull = model.pull_name(wanted)
    except PlannerError as problem:
        error = sentence(str(problem))
    rows = read_quality()
    return chapter_page(
        request,
        "quality",
        error=error,
        mix=mix,
        pull=pull,
        model=name,
        quant=quant,
        quants=[each for each in FILE_TYPES if each not in ("F32", "F16", "BF16")],
        names=catalog_names(),
        rows=rows,
        points=chart.points(rows),
        lines=[(kld, chart.y_of(kld)) for kld in chart.LINES],
        ticks=[(bits, chart.x_of(bits)) for bits in chart.BITS],
        chart=chart,
        f16=find_row("F16"),
        q8=find_row("Q8_0"),
        q4=find_row("Q4_K_M"),
        few=best_below(FEW_BITS),
        few_bits=FEW_BITS,
        q2=find_row("Q2_K"),
        rise=rise_a_bit(find_row("Q5_K_M"), find_row("Q3_K_M")),
        rise_below=rise_a_bit(best_below(FEW_BITS), rows[-1]),
        measured_on=MEASURED_ON,
        blocks=[(each, find_row(each.quant).pull) for each in block_types()],
        rounding=rounding(),
        outlier=OUTLIER_SIGMAS,
    )
