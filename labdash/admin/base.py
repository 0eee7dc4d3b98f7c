"""What the pages of the admin share."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import NestedObjects
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model, QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import capfirst

from labdash.domain import pulls
from labdash.domain.errors import LabDashError
from labdash.models import GpuPeriod, GpuSample, Instance
from labdash.wording import size

# An action that is offered on the list and on the page of one row.
BOTH = (admin.ActionLocation.CHANGE_LIST, admin.ActionLocation.CHANGE_FORM)


def size_column(field: str, label: str) -> Callable[[Any], str]:
    """Return a column that shows bytes and sorts by them."""

    @admin.display(description=label, ordering=field)
    def column(row: Model) -> str:
        value = getattr(row, field)
        return "unknown" if value is None else size(value)

    column.__name__ = f"{field}_shown"
    return column


def each(
    request: HttpRequest, rows: Iterable[Any], act: Callable[[Any], object], done: str
) -> None:
    """Act on each row, and say for how many it was done and why not for the others."""
    count = 0
    for row in rows:
        try:
            act(row)
        except LabDashError as error:
            messages.error(request, f"Not done for {row}: {error}")
        else:
            count += 1
    if count:
        messages.success(request, f"{done}: {count}.")


def owner(request: HttpRequest) -> User:
    """Return who asks: nobody else passes the admin's door."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def queue_pulls(request: HttpRequest, instances: Iterable[Instance], model: str) -> None:
    """Queue a pull of ``model`` on each instance, and say so."""
    user = owner(request)
    each(
        request,
        instances,
        lambda instance: pulls.request_pull(instance=instance, model=model, user=user),
        f"Pulls of {model} queued",
    )


class ReadOnly:
    """For what is only observed: rows are made and changed by reports."""

    def has_add_permission(self, *_: Any) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, *_: Any) -> bool:
        """Refuse."""
        return False


class TellsRefusals(admin.ModelAdmin):
    """Says what the domain refuses on the page where it was asked for."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show, add or change a row."""
        return _told(request, partial(super().changeform_view, request, *args, **kwargs))

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Ask whether to delete a row, and do it."""
        return _told(request, partial(super().delete_view, request, *args, **kwargs))

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the list, and act on rows of it."""
        return _told(request, partial(super().changelist_view, request, *args, **kwargs))


def _told(request: HttpRequest, view: Callable[[], HttpResponse]) -> HttpResponse:
    try:
        return view()
    except LabDashError as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(request.get_full_path())


class _WithoutHistory(NestedObjects):
    """What goes with a row, but for the history of GPUs: a year of it takes minutes to list."""

    def related_objects(self, related_model: Any, related_fields: Any, objs: Any) -> QuerySet[Any]:
        """Find what refers to rows."""
        rows: QuerySet[Any] = super().related_objects(related_model, related_fields, objs)
        return rows.none() if related_model in {GpuSample, GpuPeriod} else rows


class HistoryGoesUnlisted(admin.ModelAdmin):
    """Asks before deleting without listing history, which goes too."""

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Return what is listed, how many there are of each kind, and what may not be deleted."""
        found = _WithoutHistory(using=DEFAULT_DB_ALIAS)
        found.collect(objs)
        # Django's stubs have names in the place of the models.
        kinds: dict[Any, set[Model]] = {**found.model_objs}
        counts = {_kind(model, many=True): len(rows) for model, rows in kinds.items()}
        forbidden = {
            _kind(model)
            for model in kinds
            if admin.site.is_registered(model)
            and not admin.site.get_model_admin(model).has_delete_permission(request)
        }
        listed = found.nested(lambda row: f"{capfirst(_kind(type(row)))}: {row}")
        return listed, counts, forbidden, []


def _kind(model: type[Model], *, many: bool = False) -> str:
    opts = model._meta  # noqa: SLF001 - documented API of Django in spite of its name
    return str(opts.verbose_name_plural if many else opts.verbose_name)


class AskForPull:
    """The page between the action "pull to nodes" and the pulling."""

    def ask(
        self, request: HttpRequest, chosen: QuerySet[Any], form_class: type[Form], title: str
    ) -> tuple[Form | None, HttpResponse | None]:
        """Return the form once it was filled in well, else the page that asks for it."""
        sent = "pull_confirmed" in request.POST
        form = form_class(request.POST if sent else None)
        if sent and form.is_valid():
            return form, None
        own = {"csrfmiddlewaretoken", "pull_confirmed", *form.fields}
        opts = chosen.model._meta  # noqa: SLF001 - documented API of Django in spite of its name
        context = {
            **admin.site.each_context(request),
            "title": title,
            "opts": opts,
            "chosen": list(chosen),
            "form": form,
            "back": reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist"),
            "posted": [
                (name, value)
                for name, values in request.POST.lists()
                if name not in own
                for value in values
            ],
        }
        return None, TemplateResponse(request, "admin/labdash/ask_for_pull.html", context)


class StaysAsSeen(ReadOnly, admin.ModelAdmin):
    """What nodes report: to look at, search and filter."""

    list_per_page = 50
