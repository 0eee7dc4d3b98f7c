"""The doors."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from labdash.domain.access import ATTEMPTS_PER_ADDRESS, new_code
from labdash.models import Attempt, CodePurpose
from tests.labdash.views.polling import text_of

RIGHT = {"username": "owner", "password": "correct horse"}
WRONG = {"username": "owner", "password": "wrong horse"}
pytestmark = pytest.mark.django_db


def test_right_password_opens_the_page_that_was_asked_for(stranger: Client) -> None:
    response = stranger.post("/sign-in/?next=/pulls/", {**RIGHT, "next": "/pulls/"})
    assert (response.status_code, response.headers["Location"]) == (302, "/pulls/")
    assert stranger.get("/pulls/").status_code == 200


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "javascript:1"])
def test_sign_in_never_leads_to_another_host(stranger: Client, elsewhere: str) -> None:
    assert stranger.post("/sign-in/", {**RIGHT, "next": elsewhere}).headers["Location"] == "/"


def test_wrong_password_is_told_in_place_and_counted(stranger: Client) -> None:
    response = stranger.post("/sign-in/", WRONG)
    assert response.status_code == 422
    assert "User name or password is wrong." in text_of(response)
    assert "wrong horse" not in text_of(response)
    assert Attempt.objects.count() == 1


def test_too_many_failures_shut_the_door_even_to_the_right_password(stranger: Client) -> None:
    for _ in range(ATTEMPTS_PER_ADDRESS):
        stranger.post("/sign-in/", WRONG)
    response = stranger.post("/sign-in/", RIGHT)
    assert response.status_code == 422
    assert "Too many failed attempts from this address. Try again in 15 min." in text_of(response)
    Attempt.objects.update(at=timezone.now() - timedelta(hours=1))
    assert stranger.post("/sign-in/", RIGHT).status_code == 302


def test_who_is_signed_in_needs_no_sign_in_page(page: Client) -> None:
    assert page.get("/sign-in/?next=/models/").headers["Location"] == "/models/"


def test_account_without_rights_is_refused_the_admin_and_not_sent_in_circles() -> None:
    client = Client()
    client.force_login(User.objects.create_user("guest"))
    assert client.get("/admin/", follow=True).status_code == 403


def test_sign_out_needs_a_post_and_ends_the_session(page: Client) -> None:
    assert page.get("/sign-out/").headers["Location"] == "/"
    assert page.get("/").status_code == 200
    assert page.post("/sign-out/").headers["Location"] == "/sign-in/"
    assert page.get("/").status_code == 302


def test_lab_without_owner_leads_to_its_set_up(client: Client) -> None:
    assert client.get("/", follow=True).redirect_chain[-1] == ("/set-up/", 302)


def test_code_from_the_terminal_makes_the_owner_and_signs_in(client: Client) -> None:
    code = new_code()
    response = client.post("/set-up/", {**RIGHT, "code": code.lower()})
    assert response.headers["Location"] == "/"
    assert client.get("/").status_code == 200
    assert User.objects.get().is_superuser


def test_wrong_code_is_told_in_place_and_counted(client: Client) -> None:
    new_code()
    response = client.post("/set-up/", {**RIGHT, "code": "AAAA-AAAA-AAAA-AAAA"})
    assert response.status_code == 422
    assert "This code is not right, was used, or has expired." in text_of(response)
    assert Attempt.objects.count() == 1
    assert not User.objects.exists()


def test_weak_password_is_told_and_the_code_lives_on(client: Client) -> None:
    code = new_code()
    response = client.post("/set-up/", {**RIGHT, "code": code, "password": "12345"})
    assert "This password is too short." in text_of(response)
    assert client.post("/set-up/", {**RIGHT, "code": code}).status_code == 302


def test_set_up_is_over_once_there_is_an_owner(stranger: Client) -> None:
    code = new_code()
    assert stranger.get("/set-up/").headers["Location"] == "/sign-in/"
    assert stranger.post("/set-up/", {**RIGHT, "code": code}).headers["Location"] == "/sign-in/"
    assert User.objects.count() == 1


def test_forgotten_password_is_replaced_with_a_code(stranger: Client) -> None:
    code = new_code(purpose=CodePurpose.RESET)
    response = stranger.post("/reset/", {"code": code, "password": "better horse"}, follow=True)
    assert "The new password holds." in text_of(response)
    assert Client().login(username="owner", password="better horse")


def test_reset_with_a_wrong_code_changes_nothing(stranger: Client) -> None:
    response = stranger.post("/reset/", {"code": "AAAA", "password": "better horse"})
    assert response.status_code == 422
    assert Client().login(**RIGHT)


@pytest.mark.parametrize("url", ["/sign-in/", "/reset/"])
def test_doors_are_not_kept_by_caches(stranger: Client, url: str) -> None:
    response = stranger.get(url)
    assert response.status_code == 200
    assert "no-store" in response.headers["Cache-Control"]


def test_empty_fields_are_named_where_they_are(stranger: Client) -> None:
    text = text_of(stranger.post("/sign-in/", {}))
    assert text.count("This field is required.") == 2
    assert 'aria-invalid="true"' in text
