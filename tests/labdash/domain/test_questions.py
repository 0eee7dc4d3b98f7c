"""When two labs are the same question."""

from dataclasses import replace

from labdash.domain.questions import figures_of
from tests.planning.one_card import one_card as lab


def test_labs_differ_by_what_is_wanted_and_by_what_is_set() -> None:
    asked = lab()
    node, wanted = asked.nodes[0], asked.deployments[0]
    other = replace(asked, deployments=(replace(wanted, ctx_floor=2048), asked.deployments[1]))
    assert not figures_of(asked).is_near(figures_of(other))
    server = replace(node.instances[0], env={"OLLAMA_NUM_PARALLEL": "2"})
    other = replace(asked, nodes=(replace(node, instances=(server,)),))
    assert not figures_of(asked).is_near(figures_of(other))
    assert figures_of(asked).is_near(figures_of(lab()))


def test_what_is_measured_may_differ_by_little() -> None:
    assert figures_of(lab(1.0)).is_near(figures_of(lab(1.1)))
    assert not figures_of(lab(1.0)).is_near(figures_of(lab(1.2)))


def test_what_goes_with_the_lab_counts() -> None:
    assert not figures_of(lab(), 0.01).is_near(figures_of(lab(), 0.1))
