"""How a machine becomes a node, against a store that lets nobody in without a password."""

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from django.utils import timezone
from pytest_django.fixtures import Settings

from labdash import live
from labdash.domain import joining, nodes
from labdash.domain.errors import LabDashError
from labdash.models import Attempt, Invitation, Membership, Node
from tests.factories import make_node
from workers import wire

pytestmark = pytest.mark.django_db
ADDRESS = "192.168.1.7"


@pytest.fixture(autouse=True)
def _guarded_store(settings: Settings, tmp_path: Path) -> Iterator[None]:
    """Shut out the store's default user, as the runner does, for the time of a test."""
    plain = redis.Redis.from_url(settings.REDIS_URL)
    plain.acl_setuser(
        "hub", enabled=True, passwords=["+hub"], keys="*", channels="*", categories=["+@all"]
    )
    settings.REDIS_URL = settings.REDIS_URL.replace("unix://", "unix://hub:hub@")
    settings.LABDASH_TLS_PORT, settings.DATA_DIR = 8643, tmp_path
    (tmp_path / "run").mkdir()
    live.store.cache_clear()
    live.store().execute_command("ACL SETUSER", "default", "resetpass")  # type: ignore[no-untyped-call]
    yield
    live.store().execute_command("ACL SETUSER", "default", "nopass")  # type: ignore[no-untyped-call]
    for name in live.store().acl_users():
        if str(name).startswith("labdash0-"):
            live.store().acl_deluser(str(name))
    live.store.cache_clear()


def accounts() -> set[str]:
    """Return the accounts of nodes in the store."""
    return {str(name) for name in live.store().acl_users() if str(name).startswith("labdash0-")}


def is_let_in(slug: str, password: str, settings: Settings) -> bool:
    """Try a password as a node."""
    url = settings.REDIS_URL.replace("hub:hub", f"labdash0-{slug}:{password}")
    try:
        return bool(redis.Redis.from_url(url).get(f"node:{slug}:spec") or True)
    except redis.AuthenticationError:
        return False


def test_a_token_becomes_an_account_once(settings: Settings) -> None:
    token = joining.invite(node=make_node("attic"))
    joined = joining.redeem(token=token, address=ADDRESS, hostname="attic.lan")
    assert joined.slug == "attic"
    assert is_let_in("attic", joined.password, settings)
    with pytest.raises(LabDashError, match="was used before"):
        joining.redeem(token=token, address=ADDRESS)
    assert is_let_in("attic", joined.password, settings)
    membership = Membership.objects.get()
    assert (membership.node.slug, membership.hostname) == ("attic", "attic.lan")
    assert membership.password_hash == hashlib.sha256(joined.password.encode()).hexdigest()


@pytest.mark.parametrize("hostname", ["x" * 5000, "a\x00b", "\u2028", "日本"])
def test_whatever_a_machine_calls_itself_it_joins(hostname: str) -> None:
    token = joining.invite(node=make_node("attic"))
    asked = wire.JoinRequest(token=token, hostname=hostname)
    assert joining.redeem(token=asked.token, address=ADDRESS, hostname=asked.hostname)


def test_nothing_of_a_token_or_a_password_is_stored() -> None:
    token = joining.invite(node=make_node("attic"))
    assert token not in str(list(Invitation.objects.values()))
    joined = joining.redeem(token=token, address=ADDRESS)
    assert joined.password not in str(list(Membership.objects.values()))


def test_a_token_that_is_too_old_wrong_or_replaced_is_refused_and_counted() -> None:
    node = make_node("attic")
    replaced, token = joining.invite(node=node), joining.invite(node=node)
    for wrong in (replaced, "", "x" * 1000, "a token"):
        with pytest.raises(LabDashError, match="Make a new one"):
            joining.redeem(token=wrong, address=ADDRESS)
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(LabDashError, match="older than an hour"):
        joining.redeem(token=token, address=ADDRESS)
    assert Attempt.objects.count() == 5
    assert accounts() == set()


def test_who_guesses_too_often_is_not_listened_to() -> None:
    token = joining.invite(node=make_node("attic"))
    for _ in range(10):
        with pytest.raises(LabDashError):
            joining.redeem(token="a guess", address=ADDRESS)
    with pytest.raises(LabDashError, match="Too many failed attempts"):
        joining.redeem(token=token, address=ADDRESS)
    assert joining.redeem(token=token, address="192.168.1.8").slug == "attic"


def test_a_second_machine_of_the_same_name_shuts_out_the_first(settings: Settings) -> None:
    node = make_node("attic")
    first = joining.redeem(token=joining.invite(node=node), address=ADDRESS)
    second = joining.redeem(token=joining.invite(node=node), address="192.168.1.8")
    assert not is_let_in("attic", first.password, settings)
    assert is_let_in("attic", second.password, settings)


def test_a_machine_says_where_its_ollama_listens() -> None:
    node = make_node("attic")
    urls = "http://127.0.0.1:11434/,http://127.0.0.1:11435"
    joining.redeem(token=joining.invite(node=node), address=ADDRESS, ollama_urls=urls)
    told = list(node.instances.values_list("url", flat=True))
    assert told == ["http://127.0.0.1:11434", "http://127.0.0.1:11435"]
    token = joining.invite(node=node)
    for wrong in ("ftp://x", "http://127.0.0.1:1,http://127.0.0.1:1"):
        with pytest.raises(LabDashError):
            joining.redeem(token=token, address=ADDRESS, ollama_urls=wrong)
    assert joining.redeem(token=token, address=ADDRESS)


@pytest.mark.django_db(transaction=True)
def test_removing_a_node_ends_its_rights_at_once(settings: Settings) -> None:
    node = make_node("attic")
    joined = joining.redeem(token=joining.invite(node=node), address=ADDRESS)
    nodes.remove_node(node=node)
    assert not is_let_in("attic", joined.password, settings)
    assert accounts() == set()


def test_a_store_that_forgot_its_accounts_is_told_them_again(settings: Settings) -> None:
    joined = joining.redeem(token=joining.invite(node=make_node("attic")), address=ADDRESS)
    live.store().acl_deluser("labdash0-attic")
    joining.assert_accounts()
    assert is_let_in("attic", joined.password, settings)


@pytest.mark.parametrize(
    "fields", [{"agentless": True}, {"started_with": "http://127.0.0.1:11434"}]
)
def test_what_the_hub_serves_itself_is_not_joined(fields: dict[str, object]) -> None:
    node = Node.objects.create(slug="attic", **fields)
    with pytest.raises(LabDashError, match="nothing joins"):
        joining.invite(node=node)


def test_a_hub_without_a_door_says_so(settings: Settings) -> None:
    settings.LABDASH_TLS_PORT = None
    with pytest.raises(LabDashError, match="not started by deploy/up"):
        joining.invite(node=make_node("attic"))


def test_an_open_store_is_refused() -> None:
    live.store().execute_command("ACL SETUSER", "default", "nopass")  # type: ignore[no-untyped-call]
    with pytest.raises(LabDashError, match="lets everybody in without a password"):
        joining.invite(node=make_node("attic"))


def test_the_door_is_wanted_while_somebody_joined_or_may_join(tmp_path: Path) -> None:
    wanted = tmp_path / "run" / "door-wanted"
    joining.tend_door()
    assert not wanted.exists()
    node = make_node("attic")
    token = joining.invite(node=node)
    assert wanted.exists()
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    joining.tend_door()
    assert not wanted.exists()
    Invitation.objects.update(expires_at=timezone.now() + timedelta(hours=1))
    joining.redeem(token=token, address=ADDRESS)
    joining.tend_door()
    assert wanted.exists()
    node.delete()
    joining.tend_door()
    assert not wanted.exists()


@pytest.mark.django_db(transaction=True)
def test_a_hub_that_may_make_no_accounts_serves_all_else(settings: Settings) -> None:
    node = make_node("attic")
    live.store().set("node:attic:spec", "x")
    live.store().execute_command(  # type: ignore[no-untyped-call]
        "ACL SETUSER", "limited", "on", ">limited", "~*", "+@all", "-acl"
    )
    everything = settings.REDIS_URL
    settings.REDIS_URL = everything.replace("hub:hub@", "limited:limited@")
    live.store.cache_clear()
    with pytest.raises(LabDashError, match="may not make others"):
        joining.invite(node=node)
    joining.assert_accounts()
    nodes.remove_node(node=node)
    assert live.store().get("node:attic:spec") is None
    settings.REDIS_URL = everything
    live.store.cache_clear()
    live.store().acl_deluser("limited")


def test_a_store_that_is_away_leaves_the_line_good(settings: Settings) -> None:
    token = joining.invite(node=make_node("attic"))
    alive = settings.REDIS_URL
    settings.REDIS_URL = "unix:///nonexistent/store.sock?db=0"
    live.store.cache_clear()
    with pytest.raises(LabDashError, match="The store does not answer"):
        joining.redeem(token=token, address=ADDRESS)
    settings.REDIS_URL = alive
    live.store.cache_clear()
    assert joining.redeem(token=token, address=ADDRESS).slug == "attic"
