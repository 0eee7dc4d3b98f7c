from dataclasses import replace

from labdash.planner.lab import Deployment, Lab, Node
from labdash.planner.telling.refusals import with_refusals
from tests.planning.choices import packed
from tests.planning.refusals import copies, node, smaller


def further(*nodes: Node, wanted: Deployment) -> list[list[str]]:
    """Return the ways out by a further server of each copy that is refused."""
    here = Lab(nodes=nodes, deployments=(wanted,))
    found = with_refusals(here, packed(here), smaller=smaller).refusals
    return [[way.text for way in each.nearest if way.kind == "instance"] for each in found]


def test_each_further_copy_is_offered_a_server_more_while_there_is_room() -> None:
    assert further(node("rog", 20), wanted=copies(5)) == [
        ["With a second Ollama on rog it fits on rog/0."],
        ["With a third Ollama on rog it fits on rog/0."],
        ["With a fourth Ollama on rog it fits on rog/0."],
        [],
    ]


def test_a_further_copy_goes_to_another_machine_where_the_first_is_full() -> None:
    assert further(node("rog", 12), node("tower", 12), wanted=copies(4)) == [
        ["With a second Ollama on rog it fits on rog/0."],
        ["With a second Ollama on tower it fits on tower/0."],
    ]


def test_the_servers_that_are_there_are_counted() -> None:
    (first,) = node("rog", 24).instances
    two = replace(node("rog", 24), instances=(first, replace(first, name="rog:11435")))
    assert further(two, wanted=copies(3)) == [["With a third Ollama on rog it fits on rog/0."]]
