"""Chapter of the guide: names decoded, and the ladder of quants."""

from django.http import HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.planner.errors import PlannerError
from labdash.queries.guide_ladder import CONTEXT, is_rounded, read_ladder
from labdash.queries.guide_models import catalog_names
from labdash.queries.guide_names import STAND_IN, read_name
from labdash.queries.guide_paste import LONGEST_NAME
from labdash.queries.guide_reader import fits_here, read_reader
from labdash.views.guide import chapter_page
from labdash.views.http import Request, sentence

FIRST_NAME = "qwen2.5:14b-instruct-q8_0"
EXAMPLES = (
    "qwen2.5:14b-instruct-q8_0",
    "Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf",
    "hf.co/unsloth/Qwen3-30B-A3B-GGUF:Q4_K_XL",
    "gemma3:12b-it-qat",
)


@require_safe
def guide_names(request: Request) -> HttpResponse:
    """Take a pasted name apart, and show all quants of the model that it names."""
    pasted = request.GET.get("name", "")[:LONGEST_NAME].strip() or FIRST_NAME
    wanted = request.GET.get("model", "")[:200].strip()
    name, ladder, error = None, None, ""
    try:
        name = read_name(pasted)
        ladder = read_ladder(wanted or (name.model.name if name.is_known else STAND_IN))
    except PlannerError as problem:
        error = sentence(str(problem))
    rungs = ladder[1] if ladder else ()
    reader = read_reader(request.GET.get("at", ""), now=timezone.now())
    quants = [rung.quant for rung in rungs]
    return chapter_page(
        request,
        "names",
        error=error,
        pasted=pasted,
        model=wanted,
        name=name,
        ladder_model=ladder[0] if ladder else None,
        rungs=rungs,
        is_unlike=any(rung.is_unlike for rung in rungs),
        is_rounded=ladder is not None and is_rounded(ladder[0].plain),
        reader=reader,
        there="" if reader.place.node else reader.title,
        here=fits_here(reader, ladder[0].name, quants, CONTEXT) if ladder else {},
        examples=EXAMPLES,
        names=catalog_names(),
    )
