"""Under which addresses a line that makes a machine a node says that the hub is reached."""

from pytest_django.fixtures import Settings

from labdash.queries.joining import hub_hosts


def test_a_hub_that_listens_on_one_address_names_no_other(settings: Settings) -> None:
    settings.LABDASH_HOST = "192.168.1.7"
    assert hub_hosts("192.168.1.7:8642") == ["192.168.1.7"]
    assert hub_hosts("localhost:8642") == ["192.168.1.7"]
    assert hub_hosts("lab.lan:8642") == ["lab.lan", "192.168.1.7"]


def test_a_hub_that_listens_on_ipv6_alone_is_named_without_brackets(settings: Settings) -> None:
    settings.LABDASH_HOST = "fd00::7"
    assert hub_hosts("[fd00::7]:8642") == ["fd00::7"]


def test_an_address_of_this_machine_alone_is_named_to_nobody(settings: Settings) -> None:
    settings.LABDASH_HOST = "127.0.0.1"
    assert hub_hosts("lab.lan:8642") == ["lab.lan"]
