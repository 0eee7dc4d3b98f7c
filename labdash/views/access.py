"""The doors: sign-in, first-run set-up, a forgotten password, sign-out."""

from django.contrib import messages
from django.contrib.auth import authenticate, login, logout
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.forms import Form
from django.http import HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from labdash.domain import access
from labdash.domain.errors import LabDashError
from labdash.forms import ResetForm, SetUpForm, SignInForm
from labdash.views.http import Request, button, by_https, is_readable, next_url, posted

BACKEND = "django.contrib.auth.backends.ModelBackend"
form_methods = require_http_methods(["GET", "HEAD", "POST"])


@login_not_required
@sensitive_post_parameters("password")
@never_cache
@form_methods
def sign_in(request: Request) -> HttpResponse:
    """Let in who knows a name and its password."""
    if request.user.is_authenticated:
        return redirect(next_url(request))
    if not access.has_owner():
        return redirect("set_up")
    form = SignInForm(posted(request))
    if form.is_valid() and (user := _authenticate(request, form)):
        login(request, user)
        return redirect(next_url(request))
    return _form_page(request, "access/sign_in.html", form, next=request.GET.get("next", ""))


def _authenticate(request: Request, form: SignInForm) -> User | None:
    """Return the user, or ``None`` with the reason in the form."""
    address, data = request.META["REMOTE_ADDR"], form.cleaned_data
    try:
        access.require_attempt(address)
    except LabDashError as error:
        form.refuse(error)
        return None
    user = authenticate(request, username=data["username"], password=data["password"])
    if isinstance(user, User):
        return user
    access.count_failure(address)
    form.add_error(None, "User name or password is wrong. Both know small from capital letters.")
    return None


@login_not_required
def admin_sign_in(request: Request) -> HttpResponse:
    """Send strangers to the one sign-in page; who is signed in may simply not go further."""
    if request.user.is_authenticated:
        raise PermissionDenied
    return redirect_to_login(next_url(request, default="admin:index"))


@login_not_required
@sensitive_post_parameters("password", "code")
@never_cache
@form_methods
def set_up(request: Request) -> HttpResponse:
    """Make the owner's account, once, for whoever reads the terminal."""
    if access.has_owner():
        return redirect("sign_in")
    form = SetUpForm(posted(request))
    if form.is_valid():
        try:
            user = access.make_owner(**form.cleaned_data, address=request.META["REMOTE_ADDR"])
        except LabDashError as error:
            form.refuse(error)
        else:
            login(request, user, backend=BACKEND)
            return redirect("overview")
    return _form_page(request, "access/set_up.html", form)


@login_not_required
@sensitive_post_parameters("password", "code")
@never_cache
@form_methods
def reset(request: Request) -> HttpResponse:
    """Give the owner a new password, for whoever reads the terminal."""
    form = ResetForm(posted(request))
    if form.is_valid():
        try:
            user = access.reset_owner(**form.cleaned_data, address=request.META["REMOTE_ADDR"])
        except LabDashError as error:
            form.refuse(error)
        else:
            login(request, user, backend=BACKEND)
            messages.success(request, "The new password holds. All other sessions have ended.")
            return redirect("overview")
    return _form_page(request, "access/reset.html", form)


@button("overview")
def sign_out(request: Request) -> HttpResponse:
    """End the session."""
    logout(request)
    return redirect("sign_in")


def _form_page(request: Request, template: str, form: Form, **context: object) -> HttpResponse:
    status = 422 if form.is_bound else 200
    context = {
        "form": form,
        "is_readable": is_readable(request),
        "by_https": by_https(request),
        **context,
    }
    return TemplateResponse(request, template, context, status=status)
