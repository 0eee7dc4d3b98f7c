"""The node's Celery app."""

import ssl

import pytest

from workers.app import make_app
from workers.config import NodeConfig


@pytest.mark.parametrize(
    ("url", "verified"),
    [
        ("rediss://h/0", {"ssl_cert_reqs": ssl.CERT_REQUIRED}),
        ("rediss://h/0?ssl_cert_reqs=none", {"ssl_cert_reqs": ssl.CERT_NONE}),
        ("redis://h/0", {}),
        ("unix:///run/store.sock?db=0", {}),
    ],
)
def test_the_certificate_of_a_store_is_checked_unless_its_address_says_otherwise(
    url: str, verified: dict[str, object]
) -> None:
    app = make_app(NodeConfig(slug="rog", store_url=url))
    with app.connection_for_read() as connection:
        assert connection.ssl == verified
