from dataclasses import replace

from labdash.planner.lab import Node, Running
from tests.planning.labs import GIB
from tests.planning.refusals import BIG, SMALL, kinds, node, refusal, way


def full(*, free_gib: float = 1, **sizes_gib: float) -> Node:
    """Return a machine whose disk is nearly full of models of these sizes."""
    made = node("rog", 24)
    files = {name.replace("_", ":"): int(size * GIB) for name, size in sizes_gib.items()}
    server = replace(made.instances[0], installed=tuple(files), file_bytes=files)
    return replace(made, instances=(server,), disk_free_bytes=int(free_gib * GIB))


def test_a_full_disk_is_answered_with_the_smallest_file_that_is_enough() -> None:
    found = refusal(full(a_1b=3, b_8b=8, c_70b=40, d_2b=4))
    assert (found.limit, way(found, "disk").at_server) == ("disk", True)
    assert way(found, "disk").text == (
        "After ollama rm b:8b on rog, which frees 8.0 GiB that nothing planned needs, it fits on"
        " rog/0."
    )


def test_several_files_are_named_where_none_alone_is_enough() -> None:
    text = way(refusal(full(a_1b=1, b_8b=3, d_2b=2.5)), "disk").text
    assert text.startswith("After ollama rm b:8b d:2b on rog, which frees 5.5 GiB ")


def test_files_that_free_too_little_are_not_offered() -> None:
    assert "disk" not in kinds(refusal(full(a_1b=1, b_8b=2)))


def test_what_is_planned_or_runs_is_not_offered_to_be_removed() -> None:
    made = full(**{"llama3.2_3b": 10, "busy_8b": 10})
    (server,) = made.instances
    (used,) = SMALL.variants
    blobs = {"llama3.2:3b": "sha256:aa"}
    server = replace(server, blobs=blobs, running=(Running(name="Busy:8b", ctx=4096),))
    beside = replace(SMALL, variants=(replace(used, digest="aa"),))
    here = replace(made, instances=(server,))
    assert "disk" not in kinds(refusal(here, beside=(beside,)))
    assert "disk" in kinds(refusal(here))


def test_all_names_of_a_file_go_with_it() -> None:
    made = full(a_8b=10, b_8b=10)
    (server,) = made.instances
    server = replace(server, blobs=dict.fromkeys(server.installed, "sha256:aa"))
    text = way(refusal(replace(made, instances=(server,))), "disk").text
    assert text.startswith("After ollama rm a:8b b:8b on rog, which frees 10.0 GiB ")


def test_an_alias_of_unknown_weights_frees_nothing() -> None:
    made = full(a_8b=10)
    (server,) = made.instances
    alias = replace(server, installed=("labdash/a",), file_bytes={"labdash/a": 10 * GIB})
    assert "disk" not in kinds(refusal(replace(made, instances=(alias,))))


def test_a_smaller_quant_is_offered_where_the_disk_has_room_for_that() -> None:
    found = refusal(full(free_gib=5))
    assert found.limit == "disk"
    assert way(found, "quant").value == "Q4_K_M"


def test_another_machine_is_offered_where_its_own_has_a_full_disk() -> None:
    wanted = replace(BIG, nodes=frozenset({"rog"}))
    found = refusal(full(), node("tower", 24), wanted=wanted)
    assert way(found, "where").text == "It fits on tower/0, which its nodes leave out."


def test_a_disk_that_is_full_of_what_is_planned_is_answered_with_less_of_that() -> None:
    found = refusal(full(free_gib=8), beside=(replace(SMALL, priority=3),), wanted=BIG)
    assert found.limit == "disk"
    assert way(found, "end").value == "small"
