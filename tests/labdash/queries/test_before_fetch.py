"""What a pull really fetches, from where, and how fast that usually is. No database."""

from labdash.models import (
    InstalledModel,
    Instance,
    Node,
    NodeKind,
    PullSettings,
    PullSource,
)
from labdash.planner.lab import Variant
from labdash.queries.before_fetch import INTERNET, Giver, Store, Stores, fetch, missing_bytes
from labdash.queries.givers import Copy
from labdash.queries.pull_speed import Pace, pace_of, paces_of
from labdash.queries.room import Disks
from labdash.sources.registry import MODEL_LAYER, Layer, Manifest
from tests.labdash.planner.small_labs import GIB, variant

WEIGHTS, CONFIG = "a" * 64, "c" * 64
PUBLISHED = Manifest(
    "d" * 64,
    (Layer("config", f"sha256:{CONFIG}", 500), Layer(MODEL_LAYER, f"sha256:{WEIGHTS}", 8 * GIB)),
)


def asked() -> Variant:
    return variant("qwen3:14b", digest=WEIGHTS)


def test_files_that_are_there_do_not_count() -> None:
    there = Store(files=frozenset((WEIGHTS,)), is_told=True)
    assert missing_bytes(asked(), PUBLISHED, there) == 0
    assert missing_bytes(asked(), PUBLISHED, Store(is_told=True)) == 8 * GIB + 500
    # Its server tells the weights alone, so that nothing is known of the rest.
    assert missing_bytes(asked(), PUBLISHED, Store(files=frozenset((WEIGHTS,)))) == 0


def test_what_is_newer_upstream_is_fetched_though_the_name_is_there() -> None:
    old = Store(names=frozenset(("qwen3:14b-q4_k_m",)), files=frozenset("b" * 64), is_told=True)
    assert old.has(asked())
    assert missing_bytes(asked(), PUBLISHED, old) == 8 * GIB + 500


def test_what_a_download_left_is_not_fetched_again() -> None:
    begun = Store(begun={WEIGHTS: 6 * GIB}, is_told=True)
    assert missing_bytes(asked(), PUBLISHED, begun) == 2 * GIB + 500


def test_without_a_registrys_word_a_size_is_reckoned() -> None:
    model = asked()
    assert missing_bytes(model, None, Store()) == model.file_bytes
    assert missing_bytes(model, None, Store(names=frozenset(("qwen3:14b-q4_k_m",)))) == 0


def told(here: Instance, **changes: object) -> Stores:
    values = {
        "stores": {here.pk: Store()},
        "copies": {},
        "disks": Disks(free={here.pk: 20 * GIB}, keep={here.pk: 10 * GIB}),
        "paces": {},
        "settings": PullSettings(),
        **changes,
    }
    return Stores(**values)  # type: ignore[arg-type]


def test_disk_keeps_what_shall_stay_free_beside_what_is_on_its_way() -> None:
    here = Instance(pk=1, node=Node(pk=1, slug="rog"))
    found = fetch(asked(), here, PUBLISHED, told(here))
    assert found.room.after_bytes == 12 * GIB - 500
    assert found.short_bytes == 0
    busy = Disks(free={1: 20 * GIB}, keep={1: 10 * GIB}, pending={1: 5 * GIB})
    assert fetch(asked(), here, PUBLISHED, told(here, disks=busy)).short_bytes == 3 * GIB + 500
    unknown = fetch(asked(), here, PUBLISHED, told(here, disks=Disks()))
    assert (unknown.room.fits, unknown.short_bytes) == (None, 0)


def test_machine_that_can_give_it_is_foretold_as_the_queue_will_choose() -> None:
    here, there = (Instance(pk=i, node=Node(pk=i, slug=slug)) for i, slug in ((1, "a"), (2, "b")))
    row = InstalledModel(instance=there, name="qwen3:14b-q4_K_M", digest="d" * 64)

    def giver(copy: Copy) -> Giver:
        known = told(here, copies={"qwen3:14b-q4_k_m": [copy]})
        return fetch(asked(), here, PUBLISHED, known).giver

    assert giver(Copy(row=row)).words == "b"
    silent = giver(Copy(row=row, is_seen=False))
    assert (silent.source, silent.note) == ("internet", "b has it and does not report.")
    row.digest = "e" * 64
    assert giver(Copy(row=row)).note == "b has another version than is published."
    row.digest = "d" * 64
    here.node.kind = NodeKind.WINDOWS
    assert giver(Copy(row=row)) == INTERNET


def test_cache_gives_what_it_has_and_keeps_what_passes_it() -> None:
    here = Instance(pk=1, node=Node(pk=1, slug="a"))
    empty = told(here, has_cache=True)
    found = fetch(asked(), here, PUBLISHED, empty).giver
    assert found.words == "the internet, through the hub's cache"
    full = told(here, has_cache=True, cached=frozenset(("qwen3:14b-q4_k_m",)))
    assert fetch(asked(), here, PUBLISHED, full).giver.source == PullSource.CACHE


def test_usual_speed_is_the_median_of_that_road_and_else_unknown() -> None:
    internet, near = PullSource.INTERNET, PullSource.NEIGHBOUR
    paces = paces_of(
        [((1, internet, None), 10e6), ((1, internet, None), 30e6), ((1, internet, None), 20e6)]
    )
    assert pace_of(paces, 1, internet) == Pace(bytes_per_s=20e6, pulls=3)
    assert pace_of(paces, 2, internet) == Pace(bytes_per_s=20e6, pulls=3, borrowed=True)
    assert pace_of(paces, 1, near, 2) is None
    limited = pace_of(paces, 1, internet, limits=(None, 5_000_000))
    assert limited == Pace(bytes_per_s=5e6, pulls=3, limited=True)
