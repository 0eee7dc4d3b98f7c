"""What holds for all pulls: speed, sources, disks, tries."""

from http import HTTPStatus

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from labdash.domain.pull_settings import set_up
from labdash.domain.retrying import RULES
from labdash.models import Node, PullSettings
from labdash.pull_settings_form import WholeForm
from labdash.queries.lab import read_lab
from labdash.queries.limits import limit_now, zone_of
from labdash.queries.problems import find_problems
from labdash.views.http import Request, fragment, live_page, posted

TEMPLATE = "pulls/settings.html"


@require_http_methods(["GET", "HEAD", "POST"])
def pull_settings(request: Request) -> HttpResponse:
    """Show what holds for all pulls, and store what was changed."""
    stored, nodes = PullSettings.read(), list(Node.objects.order_by("slug"))
    form = WholeForm(posted(request), stored=stored, nodes=nodes)
    if form.is_bound and form.is_valid():
        by_node = {each.node.pk: each.values() for each in form.nodes}
        set_up(values=form.lab.values(), windows=form.speed_windows(), by_node=by_node)
        messages.success(request, "Saved. It holds from now on, also for what is running.")
        return redirect("pull_settings")
    return _page(request, form, stored)


def _page(request: Request, form: WholeForm, stored: PullSettings) -> HttpResponse:
    lab = read_lab(now=timezone.now())
    now = fragment(
        f"{TEMPLATE}#now",
        "now",
        limit=limit_now(stored, now=lab.now),
        clock=lab.now.astimezone(zone_of(stored)),
        has_windows=bool(stored.speed_windows),
    )
    response = live_page(
        request,
        TEMPLATE,
        [now],
        title="Pull settings · LabDash",
        lab=lab,
        problems=find_problems(lab),
        form=form,
        rules=RULES.values(),
    )
    if form.is_bound:
        response.status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    return response
