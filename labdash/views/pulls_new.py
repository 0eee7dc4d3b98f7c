"""Before a pull: what becomes of a model on every server, and one click to pull the right ones."""

from http import HTTPStatus
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods
from django_htmx.http import HttpResponseClientRedirect

from labdash.domain.errors import LabDashError
from labdash.domain.names import parse_model_name
from labdash.domain.pulls import request_pull
from labdash.models import Instance
from labdash.planner.errors import PlannerError
from labdash.pull_form import ALL_QUANTS, USUAL_CTX, BeforePullForm
from labdash.queries.before_pull import Verdicts, read_verdicts
from labdash.queries.fit_models import suggestions
from labdash.queries.published import forget_dead
from labdash.views import pulls
from labdash.views.http import Request, button, first_error, sentence, watch

TARGET = "verdict"
# More than any page proposes: a lab's servers times a few quants.
MOST_PICKS = 100
LONGEST_SHOWN = 80
# A family may lie on both registries.
ANY_HUB_NAME = "hf.co/user/repository"
# A key of the database has fewer digits.
LONGEST_KEY = 19


@require_http_methods(["GET", "HEAD", "POST"])
def pull_new(request: Request) -> HttpResponse:
    """Show the verdict on a model; a POST queues it at once, as the form of the queue does."""
    if request.method == "POST":
        return pulls.pull_new(request)
    if request.htmx and request.htmx.target != TARGET:
        # A button of another page asks for this one.
        return HttpResponseClientRedirect(request.get_full_path())
    return _page(request, request.GET)


@button("pull_new")
def pull_chosen(request: Request) -> HttpResponse:
    """Queue what was ticked: pairs of a server and the name that is right for it."""
    picks = list(dict.fromkeys(request.POST.getlist("pick")))[:MOST_PICKS]
    if not picks:
        return _page(request, request.POST, refusal="Tick at least one quant of one machine.")
    queued, refused = _request_all(request, picks)
    for line in refused:
        messages.error(request, line)
    if queued:
        noun = "1 pull is" if queued == 1 else f"{queued} pulls are"
        messages.success(request, f"{noun} queued.")
    return redirect("pulls")


def _request_all(request: Request, picks: list[str]) -> tuple[int, list[str]]:
    """Ask for each pull; one that is refused stops no other."""
    pairs = [(key, name) for key, _, name in (pick.partition("=") for pick in picks)]
    keys = {key for key, _ in pairs if key.isascii() and key.isdecimal() and len(key) < LONGEST_KEY}
    found = Instance.objects.select_related("node").in_bulk(map(int, keys))
    queued, refused = 0, []
    for key, name in pairs:
        instance = found.get(int(key)) if key in keys else None
        if instance is None:
            refused.append(f"{name[:LONGEST_SHOWN]}: its machine is no longer there.")
            continue
        try:
            request_pull(instance=instance, model=name, user=request.user)
        except LabDashError as error:
            refused.append(f"{instance.node.slug}: {error}")
        else:
            queued += 1
    return queued, refused


def _page(request: Request, sent: QueryDict, refusal: str = "") -> HttpResponse:
    values = _values(sent)
    form = BeforePullForm(values if values.get("model") else None, initial=values)
    found, error = _answer(form) if values.get("model") else (None, "")
    wanted = found.question.ctx if found else USUAL_CTX
    form.offer_contexts(found.family.top_ctx if found else 0, wanted)
    context = {
        "title": "New pull · LabDash",
        "form": form,
        "values": values,
        "seen": found,
        "error": error or refusal,
        "refusal": refusal,
        "picks": sent.getlist("pick"),
        "again": urlencode({**values, "look": "1"}),
        "whole": urlencode({**values, "look": ALL_QUANTS}),
        "looks": bool(found and not found.question.look and found.unasked and not found.dead),
    }
    status = HTTPStatus.UNPROCESSABLE_ENTITY if error or refusal else HTTPStatus.OK
    if request.htmx.target == TARGET:
        return TemplateResponse(request, "pulls/new.html#update", context, status=status)
    context["suggestions"] = [each for each in suggestions() if _can_be_pulled(each.name)]
    return TemplateResponse(request, "pulls/new.html", context, status=status)


def _can_be_pulled(name: str) -> bool:
    """Tell whether the form would take a name: an entry of one's own may be called anything."""
    try:
        return bool(parse_model_name(name))
    except LabDashError:
        return False


def _values(sent: QueryDict) -> dict[str, str]:
    """Return what the form shows: what was sent, else how a page begins."""
    given = {name: str(sent[name]) for name in BeforePullForm.base_fields if sent.get(name)}
    return {**BeforePullForm.FIRST, **given}


def _answer(form: BeforePullForm) -> tuple[Verdicts | None, str]:
    """Return the answer, or the one line that says what is wrong."""
    if not form.is_valid():
        return None, first_error(form)
    question = form.question()
    if form.cleaned_data["look"] == "again":
        forget_dead((question.name, ANY_HUB_NAME))
    try:
        found = read_verdicts(question, now=timezone.now())
    except PlannerError as error:
        return None, sentence(str(error))
    watch({column.view.node.slug for column in found.columns})
    return found, ""
