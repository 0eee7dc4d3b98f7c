"""What is an address of an Ollama server, and which two are one."""

import pytest

from labdash.domain.addresses import check_url, require_distinct
from labdash.domain.errors import LabDashError
from labdash.models import Instance, Node
from tests.factories import make_node

LONG = "x" * 63


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434"),
        (" https://Studio.local/ ", "https://studio.local"),
        ("HTTP://ROG:11434", "http://rog:11434"),
        ("http://rog:", "http://rog"),
        ("http://rog:08080", "http://rog:8080"),
        ("http://rog:1", "http://rog:1"),
        ("http://rog:65535", "http://rog:65535"),
        ("http://[FD00:0::7]:11434", "http://[fd00::7]:11434"),
        ("http://my_box-2.lan", "http://my_box-2.lan"),
        ("http://münchen.local", "http://xn--mnchen-3ya.local"),
        (f"http://{LONG}.lan", f"http://{LONG}.lan"),
        (f"http://{LONG}.{LONG}.{LONG}.{'x' * 61}", f"http://{LONG}.{LONG}.{LONG}.{'x' * 61}"),
    ],
)
def test_an_address_is_written_anew_as_scheme_host_and_port(text: str, url: str) -> None:
    assert check_url(text) == url
    assert check_url(url) == url


@pytest.mark.parametrize(
    "text",
    ["", "192.168.1.20:11434", "ftp://rog", "file:///etc/passwd", "http://", "http://:11434"],
)
def test_what_names_no_server_is_refused(text: str) -> None:
    with pytest.raises(LabDashError, match="is no http or https address"):
        check_url(text)


@pytest.mark.parametrize("text", ["http://me:secret@rog:11434", "http://@rog", "http://me@rog"])
def test_who_asks_is_left_out(text: str) -> None:
    with pytest.raises(LabDashError, match="Leave out the user name") as refused:
        check_url(text)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["http://rog/api", "http://rog?x=1", "http://rog#x", "http://rog?", "http://rog#"]
)
def test_what_follows_is_left_out(text: str) -> None:
    with pytest.raises(LabDashError, match="Leave out what follows"):
        check_url(text)


@pytest.mark.parametrize("port", ["0", "00", "65536", "99999", "-1", "x", "1x", "٣"])
def test_a_port_outside_its_range_is_refused(port: str) -> None:
    with pytest.raises(LabDashError, match="is no address"):
        check_url(f"http://rog:{port}")


@pytest.mark.parametrize(
    "host",
    [
        *("256.1.1.1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "2130706433", "0x7f.1", "rog.1"),
        *("[::1", "[::g]", "[1::2::3]", "[fe80::1%25eth0]", "[rog]"),
        *("-rog", "rog-", "r og", "rog\n.evil", "rog\x00", "rog!", "rog,tower", "*", "rog\\x"),
        *("rog.", ".rog", "rog..lan", ".", "x" * 64, f"{LONG}.{LONG}.{LONG}.{'x' * 62}"),
        *("ü" * 60, "xn--a", "\u2024", "rog\u200b"),
    ],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(LabDashError, match="is no address"):
        check_url(f"http://{host}")


HUBS_OWN = {"started_with": "http://127.0.0.1:11434"}
AGENTLESS = {"agentless": True}
OTHER: dict[str, object] = {}


def require(node: Node, *urls: str) -> None:
    """Check what is to be listed for a node beside all that is stored."""
    require_distinct(node=node, urls=urls, others=Instance.objects.select_related("node"))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("there", "known", "here", "url"),
    [
        (AGENTLESS, "http://10.0.0.7:11434", AGENTLESS, "http://10.0.0.7:11434"),
        (OTHER, "http://10.0.0.7:11434", AGENTLESS, "https://10.0.0.7:11434"),
        (AGENTLESS, "http://rog", OTHER, "http://rog:80"),
        (HUBS_OWN, "http://127.0.0.1:11434", AGENTLESS, "http://localhost:11434"),
        (AGENTLESS, "http://[::1]:11434", AGENTLESS, "http://0.0.0.0:11434"),
        (AGENTLESS, "http://127.0.0.1:11434", HUBS_OWN, "http://127.0.0.1:11434"),
    ],
)
def test_a_server_that_is_listed_is_not_listed_again(
    there: dict[str, object], known: str, here: dict[str, object], url: str
) -> None:
    make_node("rog", urls=[known], **there)
    with pytest.raises(LabDashError, match="is listed already, as rog/ollama"):
        require(Node(slug="tower", **here), url)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("there", "known", "here", "url"),
    [
        (OTHER, "http://127.0.0.1:11434", OTHER, "http://127.0.0.1:11434"),
        (HUBS_OWN, "http://127.0.0.1:11434", OTHER, "http://127.0.0.1:11434"),
        (OTHER, "http://localhost:11434", AGENTLESS, "http://localhost:11434"),
        (HUBS_OWN, "http://127.0.0.1:11434", AGENTLESS, "http://127.0.0.1:11435"),
        (AGENTLESS, "http://10.0.0.7:11434", AGENTLESS, "http://10.0.0.8:11434"),
    ],
)
def test_servers_of_other_machines_and_ports_are_others(
    there: dict[str, object], known: str, here: dict[str, object], url: str
) -> None:
    make_node("rog", urls=[known], **there)
    require(Node(slug="tower", **here), url)


def test_a_list_names_no_server_twice() -> None:
    with pytest.raises(LabDashError, match="is listed already, as http://localhost:1"):
        require_distinct(
            node=Node(slug="rog"), urls=["http://localhost:1", "http://127.0.0.1:1"], others=()
        )
