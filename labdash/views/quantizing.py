"""Smaller files of a 16-bit model: what they take and lose, and the button that makes one."""

from urllib.parse import urlencode

from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.domain import naming
from labdash.domain.errors import LabDashError
from labdash.domain.quantizing import quantize
from labdash.models import InstalledModel, NameAct, NameJob
from labdash.queries.lab import read_lab
from labdash.queries.problems import find_problems
from labdash.queries.quantizing import read_jobs, read_smaller
from labdash.views.http import Request, button, done, fragment, is_poll, live_page, refused


@require_safe
def model_smaller(request: Request, slug: str) -> HttpResponse:
    """Show what could be made; how orders stand is asked for each second, and nothing else."""
    installed = _installed(request, slug)
    lab = read_lab(now=timezone.now())
    jobs = read_jobs(installed.instance, installed.name, now=lab.now)
    return live_page(
        request,
        "nodes/smaller.html",
        [fragment("nodes/smaller.html#jobs", "jobs", jobs=jobs, slug=slug)],
        title=f"Smaller files of {installed.name} · LabDash",
        lab=lab,
        problems=find_problems(lab),
        installed=installed,
        offers=() if is_poll(request) else read_smaller(lab, installed),
    )


@button("node_detail")
def model_quantize(request: Request, slug: str) -> HttpResponse:
    """Let its server make one."""
    installed = _installed(request, slug)
    default = _address(slug, installed.instance.name, installed.name)
    try:
        quantize(installed=installed, quant=request.GET.get("quant", ""), user=request.user)
    except LabDashError as error:
        return refused(request, error, default=default)
    return done(request, default=default)


@button("node_detail")
def model_quantize_cancel(request: Request, slug: str, pk: int) -> HttpResponse:
    """Give it up: Ollama ends it when its client leaves."""
    jobs = NameJob.objects.select_related("instance__node").filter(act=NameAct.QUANTIZE)
    job = get_object_or_404(jobs.filter(instance__node__slug=slug), pk=pk)
    default = _address(slug, job.instance.name, job.model)
    try:
        naming.cancel(job=job)
    except LabDashError as error:
        return refused(request, error, default=default)
    return done(request, default=default)


def _address(slug: str, instance: str, model: str) -> str:
    query = urlencode({"instance": instance, "model": model})
    return f"{reverse('model_smaller', args=[slug])}?{query}"


def _installed(request: Request, slug: str) -> InstalledModel:
    name = request.GET.get("model", "")
    rows = InstalledModel.objects.select_related("instance__node", "variant__family")
    rows = rows.filter(instance__node__slug=slug, name__iexact=name)
    if instance := request.GET.get("instance"):
        rows = rows.filter(instance__name=instance)
    found = next((row for row in rows if row.variant and row.variant.can_be_quantized), None)
    if found is None:
        raise Http404(f"There is no 16-bit {name[:80]} on {slug}.")
    return found
