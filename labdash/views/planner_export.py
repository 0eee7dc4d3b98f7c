"""The plan as Modelfiles and commands, to copy or to keep."""

from django.http import HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.queries.lab import read_lab
from labdash.queries.planner_export import as_text, export
from labdash.views.http import Request
from labdash.views.planning import plan_to_act


@require_safe
def planner_export(request: Request) -> HttpResponse:
    """Show what would make the plan by hand."""
    shown = plan_to_act(read_lab(now=timezone.now()))
    context = {
        "title": "Export · LabDash",
        "exported": export(shown.plan, shown.lab) if shown.plan and shown.lab else (),
        "text": as_text(shown.plan, shown.lab) if shown.plan and shown.lab else "",
    }
    return TemplateResponse(request, "planner/export.html", context)


@require_safe
def planner_export_text(_request: Request) -> HttpResponse:
    """Send the same as a file."""
    shown = plan_to_act(read_lab(now=timezone.now()))
    text = as_text(shown.plan, shown.lab) if shown.plan and shown.lab else ""
    headers = {"Content-Disposition": 'attachment; filename="labdash-plan.sh"'}
    return HttpResponse(text, content_type="text/plain; charset=utf-8", headers=headers)
