import sys
from pathlib import Path

import pytest

from workers.config import BadConfig, NodeConfig, broker_url

GOOD = {"LABDASH_NODE": "rog", "REDIS_URL": "redis://127.0.0.1:6379/0"}


def test_defaults_are_one_local_server_and_this_machines_hardware() -> None:
    config = NodeConfig.from_env(GOOD)

    assert (config.slug, config.store_url) == ("rog", "redis://127.0.0.1:6379/0")
    assert [(i.name, i.url) for i in config.instances] == [("ollama", "http://127.0.0.1:11434")]
    assert config.simulated_url is None
    assert config.serves_agentless is False


def test_several_servers_are_numbered() -> None:
    urls = " http://127.0.0.1:11434/ , https://gpu.lan:8443,"
    config = NodeConfig.from_env({**GOOD, "LABDASH_OLLAMA_URLS": urls})

    assert [(i.name, i.url) for i in config.own_spec.instances] == [
        ("ollama", "http://127.0.0.1:11434"),
        ("ollama-2", "https://gpu.lan:8443"),
    ]


def test_the_node_of_the_command_line_wins() -> None:
    assert NodeConfig.from_env(GOOD, node="tower").slug == "tower"


def test_the_worker_of_agentless_nodes_has_no_servers_of_its_own() -> None:
    config = NodeConfig.from_env(GOOD, node="@hub")

    assert (config.serves_agentless, config.instances) == (True, ())


def test_simulated_hardware_has_an_address() -> None:
    hardware = "simulated:http://127.0.0.1:9000/machines/rog/hardware"
    config = NodeConfig.from_env({**GOOD, "LABDASH_HARDWARE": hardware})

    assert config.simulated_url == "http://127.0.0.1:9000/machines/rog/hardware"


@pytest.mark.parametrize("told", ["yes", "1", "true", "YES", "anything"])
def test_in_the_demo_only_its_own_servers_are_looked_for(told: str) -> None:
    hub = {**GOOD, "LABDASH_NODE": "@hub", "LABDASH_DEMO": told}
    assert NodeConfig.from_env(hub).simulated_servers == ()
    urls = "http://127.0.0.1:4001,http://127.0.0.1:4002"
    config = NodeConfig.from_env({**hub, "LABDASH_OLLAMA_URLS": urls})
    assert config.simulated_servers == (("127.0.0.1", 4001), ("127.0.0.1", 4002))
    assert config.instances == ()


@pytest.mark.parametrize("told", ["", "no", "0", "false"])
def test_outside_of_the_demo_networks_may_be_looked_through(told: str) -> None:
    assert NodeConfig.from_env({**GOOD, "LABDASH_DEMO": told}).simulated_servers is None


def test_the_stores_address_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("unix:///run/store.sock?db=0\n")

    config = NodeConfig.from_env({"LABDASH_NODE": "rog", "REDIS_URL_FILE": str(tmp_path / "url")})

    assert config.store_url == "unix:///run/store.sock?db=0"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LABDASH_NODE", ""),
        ("LABDASH_NODE", "Rog"),
        ("LABDASH_NODE", "a:b"),
        ("LABDASH_NODE", "-a"),
        ("LABDASH_NODE", "a" * 51),
        ("LABDASH_NODE", "@other"),
        ("REDIS_URL", ""),
        ("REDIS_URL", "http://127.0.0.1"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "redis://:secret@[::1"),
        ("REDIS_URL", "redis://:secret@host:port/0"),
        ("REDIS_URL", "redis://:secret@host:99999/0"),
        ("REDIS_URL", "redis://:secret@a..b:6379/0"),
        ("REDIS_URL", "redis://:secret@host:6379/first"),
        ("REDIS_URL", "redis://:secret@host:6379/0?unknown=1"),
        ("REDIS_URL", "redis://:secret@host:6379/0?socket_timeout=long"),
        ("REDIS_URL", "unix://?db=0"),
        ("REDIS_URL", "unix:///s.sock?db=first"),
        ("REDIS_URL", "unix:///s\x00.sock"),
        ("REDIS_URL_FILE", "/nowhere/at/all"),
        ("REDIS_URL_FILE", sys.executable),
        ("REDIS_URL_FILE", "/nowhere\x00"),
        ("LABDASH_OLLAMA_URLS", "127.0.0.1:11434"),
        ("LABDASH_OLLAMA_URLS", "http://user@host:11434"),
        ("LABDASH_OLLAMA_URLS", "http://user:secret@host:11434"),
        ("LABDASH_OLLAMA_URLS", "http://a..b:11434"),
        ("LABDASH_OLLAMA_URLS", "http://[::1"),
        ("LABDASH_OLLAMA_URLS", "http://a\x00b"),
        ("LABDASH_OLLAMA_URLS", "http://host:99999"),
        ("LABDASH_OLLAMA_URLS", "http://host:0"),
        ("LABDASH_OLLAMA_URLS", "http://host/path?x"),
        ("LABDASH_OLLAMA_URLS", "http://ok:1,file:///etc/passwd"),
        ("LABDASH_HARDWARE", "nvml"),
        ("LABDASH_HARDWARE", "simulated:"),
        ("LABDASH_HARDWARE", "simulated:http://user:secret@host/x"),
        ("LABDASH_HARDWARE", "simulated:ftp://x"),
    ],
)
def test_a_bad_value_is_refused_in_one_line_that_names_it(name: str, value: str) -> None:
    environ = {**GOOD, name: value}
    if name == "REDIS_URL_FILE":
        del environ["REDIS_URL"]

    with pytest.raises(BadConfig) as caught:
        NodeConfig.from_env(environ)

    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("store", "broker"),
    [
        ("redis://:secret@10.0.0.1:6379/1", "redis://:secret@10.0.0.1:6379/1"),
        ("rediss://hub.lan:6380/0", "rediss://hub.lan:6380/0"),
        ("unix:///run/s.sock?db=3", "redis+socket:///run/s.sock?virtual_host=3"),
        ("unix:///run/s.sock", "redis+socket:///run/s.sock?virtual_host=0"),
        ("unix://node:pw@/run/s.sock?db=0", "redis+socket://node:pw@/run/s.sock?virtual_host=0"),
    ],
)
def test_celery_gets_the_same_store_in_its_own_words(store: str, broker: str) -> None:
    assert broker_url(store) == broker


def test_neighbours_are_served_on_one_port_of_every_address_or_where_the_owner_says() -> None:
    base = {"LABDASH_NODE": "rog", "REDIS_URL": "redis://127.0.0.1:6379/0"}
    usual = NodeConfig.from_env(base)
    other = NodeConfig.from_env({**base, "LABDASH_MIRROR_PORT": "12000"})
    simulated = NodeConfig.from_env({**base, "LABDASH_HARDWARE": "simulated:http://127.0.0.1:1/x"})
    found = [(each.mirror_port, each.mirror_host) for each in (usual, other, simulated)]
    assert found == [(11480, None), (12000, None), (0, "127.0.0.1")]
    for text in ("0", "65536", "x"):
        with pytest.raises(BadConfig, match="LABDASH_MIRROR_PORT"):
            NodeConfig.from_env({**base, "LABDASH_MIRROR_PORT": text})
