"""What the worker on the hub may tell of the network, and what an order to look may say."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from tests.strange import VALUES
from workers.wire.finding import FindOrder, Found, FoundServer, LeftOut, LookedNetwork

ID = "ab" * 16
FULL = Found(
    find_id=ID,
    state="looking",
    looked_at=512,
    total=1022,
    networks=(LookedNetwork(network="10.0.0.0/22", part_of="10.0.0.0/8"),),
    left_out=(LeftOut(name="docker0", why="virtual"),),
    servers=(FoundServer(address="10.0.0.7", host_name="attic.lan", version="0.9.1"),),
)


@pytest.mark.parametrize(
    "fields",
    [{"find_id": "*"}, {"find_id": ID + "\n"}, {"find_id": ID, "node": "rog"}, {}],
    ids=["no id", "a line more", "another node", "nothing"],
)
def test_an_order_is_for_the_worker_on_the_hub_and_names_a_look(fields: Any) -> None:
    with pytest.raises(ValidationError):
        FindOrder.model_validate(fields)


@pytest.mark.parametrize(
    "address", ["10.0.0", "10.0.0.7\n", "attic", "10.0.0.7/..", "::1", "1" * 400, '"><script>']
)
def test_a_server_without_an_address_is_left_out(address: str) -> None:
    fields = FULL.model_dump(mode="json")
    fields["servers"].append({"address": address})
    assert Found.model_validate(fields) == FULL


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_strange_value_of_a_server_is_harmless(value: str) -> None:
    for field in ("host_name", "version", "address", "port", "is_own"):
        fields = FULL.model_dump(mode="json")
        fields["servers"][0][field] = "here"
        try:
            read = Found.model_validate_json(json.dumps(fields).replace('"here"', value))
        except ValidationError:
            assert value == VALUES["half a pair"]
            continue
        for server in read.servers:
            assert len(server.host_name or "") <= 350
            assert len(server.version or "") <= 40
            assert "\x00" not in server.model_dump_json()
