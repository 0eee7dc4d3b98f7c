"""The plan as Modelfiles and commands, to copy or to keep."""

from django.http import HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.queries.lab import read_lab
from labdash.queries.planner_export import as_text, export
from labdash.views.http import Request
from labdash.views.planning import plan_now


@require_safe
def planner_export(request: Request) -> HttpResponse:
    """Show what would make the plan by hand."""
    shown = plan_now(read_lab(now=timezone.now()), key=request.GET.get("plan", ""))
    is_there = shown.plan is not None and shown.lab is not None
    context = {
        "title": "Export · LabDash",
        "trouble": shown.trouble,
        "exported": export(shown.plan, shown.lab) if shown.plan and shown.lab else (),
        "text": as_text(shown.plan, shown.lab) if shown.plan and shown.lab else "",
        "key": shown.key if is_there else "",
    }
    return TemplateResponse(request, "planner/export.html", context)


@require_safe
def planner_export_text(request: Request) -> HttpResponse:
    """Send the same as a file."""
    shown = plan_now(read_lab(now=timezone.now()), key=request.GET.get("plan", ""))
    text = as_text(shown.plan, shown.lab) if shown.plan and shown.lab else ""
    headers = {"Content-Disposition": 'attachment; filename="labdash-plan.sh"'}
    return HttpResponse(text, content_type="text/plain; charset=utf-8", headers=headers)
