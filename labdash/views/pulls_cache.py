"""The hub's cache: what is in it and what it saved, its switch, and how it is emptied."""

from django.http import HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.cache_form import CacheForm
from labdash.domain import caching
from labdash.domain.errors import LabDashError
from labdash.queries.cache import CacheView, read_cache
from labdash.queries.lab import read_lab
from labdash.queries.problems import find_problems
from labdash.views.http import Request, button, done, fragment, live_page, refused
from labdash.wording import GIB


@require_safe
def pull_cache(request: Request) -> HttpResponse:
    """Show the cache."""
    seen = read_cache()
    return _page(request, seen, CacheForm(initial={"limit_gib": seen.limit_bytes // GIB}))


@button("pull_cache")
def pull_cache_switch(request: Request) -> HttpResponse:
    """Turn it on or off."""
    caching.switch(is_on=request.GET.get("to") == "on")
    return done(request, default="pull_cache")


@button("pull_cache")
def pull_cache_limit(request: Request) -> HttpResponse:
    """Take another size limit."""
    form = CacheForm(request.POST)
    if not form.is_valid():
        response = _page(request, read_cache(), form)
        response.status_code = 422
        return response
    caching.limit(limit_bytes=form.limit_bytes)
    return done(request, "The size limit is saved.", default="pull_cache")


@button("pull_cache")
def pull_cache_drop(request: Request) -> HttpResponse:
    """Delete a model from it, or everything."""
    model = request.GET.get("model", "")
    try:
        caching.drop(model=model) if model else caching.drop_all()
    except LabDashError as error:
        return refused(request, error, default="pull_cache")
    text = f"{model or 'What no pull needs'} goes from the cache within seconds."
    return done(request, text, default="pull_cache")


def _page(request: Request, seen: CacheView, form: CacheForm) -> HttpResponse:
    lab = read_lab(now=timezone.now())
    return live_page(
        request,
        "pulls/cache.html",
        [
            fragment("pulls/cache.html#standing", "standing", seen=seen, now=lab.now),
            fragment("pulls/cache.html#contents", "contents", seen=seen, now=lab.now),
        ],
        title="Cache · Pulls · LabDash",
        lab=lab,
        problems=find_problems(lab),
        form=form,
    )
