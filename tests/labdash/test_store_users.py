"""Accounts in the store, tried by a node that tries everything else."""

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from labdash import live
from labdash.store_users import NoControl, admit, assert_users, expel, require_control
from workers import wire

PASSWORD = "a long password of a node"
HASH = hashlib.sha256(PASSWORD.encode()).hexdigest()
OTHER = hashlib.sha256(b"another").hexdigest()


def client_of(slug: str, password: str = PASSWORD) -> redis.Redis:
    """Connect as a node."""
    url = os.environ["REDIS_URL"]
    return redis.Redis.from_url(
        url, username=f"labdash0-{slug}", password=password, decode_responses=True
    )


@pytest.fixture(autouse=True)
def _no_accounts() -> Iterator[None]:
    yield
    assert_users({})


@pytest.fixture
def node() -> Iterator[redis.Redis]:
    """A node that was let in, beside another one with reports of its own."""
    admit("rog", HASH)
    live.store().set(wire.spec_key("rog"), "mine")
    live.store().set(wire.spec_key("rog-2"), "theirs")
    live.store().set("hub:secret", "the hub's")
    with client_of("rog") as client:
        yield client
    live.store().delete(wire.spec_key("rog"), wire.spec_key("rog-2"), "hub:secret")


def test_a_node_reads_and_reports_under_its_own_name(node: redis.Redis) -> None:
    assert node.get(wire.spec_key("rog")) == "mine"
    assert node.xadd(wire.reports_key("rog"), {"report": "{}"})
    assert node.brpop([wire.orders_queue("rog")], timeout=1) is None
    assert node.eval("return redis.call('get', KEYS[1])", 1, wire.spec_key("rog")) == "mine"
    live.store().delete(wire.reports_key("rog"))


def test_a_node_takes_a_prompt_and_writes_an_answer_under_its_own_name(node: redis.Redis) -> None:
    prompt, wish, answer = (
        name("rog", "ab" * 16)
        for name in (wire.try_prompt_key, wire.try_wish_key, wire.try_answer_key)
    )
    live.store().mset({prompt: "Why?", wish: 1})
    assert node.getdel(prompt) == "Why?"
    assert node.exists(wish)
    assert node.setrange(answer, 0, "{}\n")
    assert node.expire(answer, 15)
    with pytest.raises(redis.exceptions.NoPermissionError):
        node.getdel(wire.try_prompt_key("rog-2", "ab" * 16))
    live.store().delete(wish, answer)


KEYS_OF_OTHERS = (
    "hub:secret",
    wire.spec_key("rog-2"),
    wire.reports_key("rog-2"),
    wire.orders_queue("tower"),
    wire.hub_nodes_key(),
    "_kombu.binding.node:rog:orders",
    "unacked",
    "node:rog",
)
TOUCHING = (
    ("GET", "{}"),
    ("SET", "{}", "x"),
    ("DEL", "{}"),
    ("EXISTS", "{}"),
    ("TYPE", "{}"),
    ("XADD", "{}", "*", "report", "{}"),
    ("XRANGE", "{}", "-", "+"),
    ("XREAD", "STREAMS", "{}", "0"),
    ("LPUSH", "{}", "x"),
    ("BRPOP", "{}", "1"),
    ("HGETALL", "{}"),
    ("SADD", "{}", "x"),
    ("RENAME", "node:rog:spec", "{}"),
    ("COPY", "node:rog:spec", "{}"),
    ("COPY", "{}", "node:rog:mine"),
    ("SUNIONSTORE", "node:rog:mine", "{}"),
    ("OBJECT", "ENCODING", "{}"),
    ("PFMERGE", "{}"),
    ("PFADD", "{}", "x"),
    ("EVAL", "return redis.call('get', KEYS[1])", "1", "{}"),
    ("EVAL", "return redis.call('get', '{}')", "0"),
)


@pytest.mark.parametrize("key", KEYS_OF_OTHERS)
def test_a_node_touches_nobody_elses_keys(node: redis.Redis, key: str) -> None:
    for words in TOUCHING:
        command = [word.replace("{}", key) for word in words]
        with pytest.raises(redis.ResponseError, match=r"(?i)permission|ACL"):
            node.execute_command(*command)  # type: ignore[no-untyped-call]
    assert live.store().get("hub:secret") == "the hub's"
    assert live.store().get(wire.spec_key("rog-2")) == "theirs"


# What works on no key, or tells of all of them.
HARMLESS = {
    *("auth", "hello", "ping", "echo", "quit", "reset", "select", "client", "readonly"),
    *("readwrite", "multi", "exec", "discard", "unwatch", "asking", "time", "wait", "waitaof"),
    # Refused by every server that is no cluster.
    "clusterscan",
    *("script", "lolwut", "command", "eval", "evalsha", "eval_ro", "evalsha_ro"),
}


def ask(*words: str) -> Any:
    """Ask the store as the hub does."""
    return live.store().execute_command(*words)  # type: ignore[no-untyped-call]


# What would show or end the connections of others.
OF_OTHERS = {f"client|{verb}" for verb in ("kill", "list", "pause", "unpause", "unblock")}


@pytest.mark.usefixtures("node")
def test_no_command_touches_a_foreign_key_and_those_without_a_key_are_harmless() -> None:
    with redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True) as client:
        client.set_response_callback("COMMAND", lambda told, **_: told)
        names = client.execute_command("COMMAND", "LIST")
        commands = client.execute_command("COMMAND", "INFO", *names)
    containers = {name.partition("|")[0] for name in names if "|" in name}
    allowed = set()
    for name, arity, flags, first_key, *_ in commands:
        if name in containers:
            continue
        if "movablekeys" in flags:
            continue  # TOUCHING tries those that a node may use
        words = name.split("|")
        words += ["x"] * (max(abs(arity), first_key + 1) - len(words))
        if first_key:
            words[first_key] = "hub:secret"
        if ask("ACL", "DRYRUN", "labdash0-rog", *words) == "OK":
            allowed.add(name)
    assert len(commands) > 200
    assert "ping" in allowed
    assert {name.partition("|")[0] for name in allowed} <= HARMLESS
    assert not allowed & OF_OTHERS


def test_an_account_is_cut_off_at_once(node: redis.Redis) -> None:
    assert node.ping()
    expel("rog")
    with pytest.raises(redis.ConnectionError):
        node.get(wire.spec_key("rog"))


def test_a_new_password_ends_the_connections_under_the_old(node: redis.Redis) -> None:
    assert node.ping()
    admit("rog", OTHER)
    with pytest.raises(redis.ConnectionError):
        node.get(wire.spec_key("rog"))
    with client_of("rog", "another") as client:
        assert client.get(wire.spec_key("rog")) == "mine"


def test_accounts_become_those_that_are_wanted() -> None:
    admit("gone", HASH)
    admit("changed", OTHER)
    assert_users({"changed": HASH, "forgotten": HASH})
    names = {name for name in ask("ACL", "USERS") if name.startswith("labdash0-")}
    assert names == {"labdash0-changed", "labdash0-forgotten"}
    for slug in ("changed", "forgotten"):
        with client_of(slug) as client:
            assert client.ping()


def test_accounts_of_another_hub_on_the_same_server_stay() -> None:
    ask("ACL", "SETUSER", "labdash1-rog", "on", f"#{HASH}", "~node:rog:*", "+get")
    ask("ACL", "SETUSER", "labdash10-rog", "on", f"#{HASH}", "~node:rog:*", "+get")
    assert_users({})
    assert {"labdash1-rog", "labdash10-rog"} <= set(ask("ACL", "USERS"))
    ask("ACL", "DELUSER", "labdash1-rog", "labdash10-rog")


def test_what_is_as_wanted_keeps_its_connections(node: redis.Redis) -> None:
    number = node.client_id()
    assert_users({"rog": HASH})
    assert node.client_id() == number


def test_rights_become_those_of_this_version(node: redis.Redis) -> None:
    ask("ACL", "SETUSER", "labdash0-rog", "+flushall", "~*", "-get")
    number = node.client_id()
    assert_users({"rog": HASH})
    assert node.get(wire.spec_key("rog")) == "mine"
    for command in (("GET", "hub:secret"), ("FLUSHALL",)):
        with pytest.raises(redis.exceptions.NoPermissionError):
            node.execute_command(*command)  # type: ignore[no-untyped-call]
    assert node.client_id() == number


def test_a_store_that_lets_strangers_in_is_no_store_for_nodes() -> None:
    with pytest.raises(NoControl, match="lets everybody in without a password"):
        require_control()
