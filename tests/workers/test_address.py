import pytest

from workers.address import check_address


@pytest.mark.parametrize(
    "url",
    [
        "http://a..b:11434",
        f"http://{'a' * 70}:11434",
        "http://ä..b",
        "http://xn--a:1",
        "http://[::1",
        "http://[v1.a]:1",
        "http://a\x00b",
        "http://host:99999",
        "http://host:port",
        "http://host:0",
        "http://:11434",
    ],
)
def test_an_address_that_no_request_can_be_sent_to_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:11434",
        "https://gpu.lan",
        "http://[fe80::1%eth0]:11434",
        "http://bücher.lan:80",
        "http://my_box:11434",
    ],
)
def test_an_address_of_a_home_network_is_accepted(url: str) -> None:
    check_address(url)
