from labdash.planner.storing import (
    Group,
    Kept,
    enough,
    freed_by_each,
    freed_bytes,
    unique_bytes,
    unused,
)

DAY_S = 86400.0


def kept(name: str, *files: str, **fields: object) -> Kept:
    """Make a name of files written ``digest:bytes``, the weights first."""
    sizes = dict(each.split(":") for each in files)
    values: dict[str, object] = {"is_exact": True, "weights": files[0].partition(":")[0], **fields}
    return Kept(name=name, files={key: int(size) for key, size in sizes.items()}, **values)  # type: ignore[arg-type]  # as the test says


BASE = kept("qwen3:8b", "w1:5000", "template:2", "params:1")
ALIAS = kept("labdash/qwen3", "w1:5000", "template:2", "other:3")
OTHER = kept("gemma3:4b", "w2:3000", "template:2")
SHELF = (BASE, ALIAS, OTHER)


def test_what_names_share_counts_once() -> None:
    assert unique_bytes(SHELF) == 5000 + 2 + 1 + 3 + 3000


def test_deleting_one_of_two_names_of_a_file_frees_only_its_own() -> None:
    assert freed_by_each(SHELF) == {"qwen3:8b": 1, "labdash/qwen3": 3, "gemma3:4b": 3000}
    assert freed_bytes(SHELF, {"qwen3:8b", "labdash/qwen3"}) == 5004
    assert freed_bytes(SHELF, {each.name for each in SHELF}) == unique_bytes(SHELF)


def idle(name: str, days: float, *files: str, **fields: object) -> Kept:
    return kept(name, *files, idle_s=days * DAY_S, **fields)


def test_names_of_the_same_weights_are_unused_together_or_not_at_all() -> None:
    base, alias = idle("a:1b", 40, "w1:50"), idle("x/a:1b", 35, "w1:50", "p:1")
    other = idle("b:1b", 31, "w2:70")
    found = unused((base, alias, other), after_s=30 * DAY_S)
    assert [(group.names, group.frees_bytes) for group in found] == [
        (("b:1b",), 70),
        (("a:1b", "x/a:1b"), 51),
    ]
    used = idle("x/a:1b", 1, "w1:50", "p:1")
    assert [group.names for group in unused((base, used, other), after_s=30 * DAY_S)] == [("b:1b",)]


def test_what_anything_needs_is_not_unused() -> None:
    shelf = (idle("a:1b", 99, "w:5", needs=("the plan",)), idle("b:1b", 99, "v:5"))
    assert [group.names for group in unused(shelf, after_s=DAY_S)] == [("b:1b",)]


def group(name: str, frees: int, days: float) -> Group:
    return Group(names=(name,), frees_bytes=frees, is_exact=True, idle_s=days * DAY_S)


def test_only_as_much_is_chosen_as_is_wanted_and_the_longest_unused_first() -> None:
    groups = (group("big", 100, 31), group("old", 40, 90), group("nothing", 0, 99))
    assert [each.names for each in enough(groups, 30)] == [("old",)]
    assert [each.names for each in enough(groups, 50)] == [("old",), ("big",)]
    assert enough(groups, 0) == ()
