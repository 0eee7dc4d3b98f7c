"""One model on one machine: every page and the planner say the same, what reads images counted."""

from dataclasses import dataclass

import pytest
from django.utils import timezone

from labdash.catalog.models import find_model
from labdash.models import Gpu, Node
from labdash.models import Variant as Weights
from labdash.planner.lab import Node as PlannedNode
from labdash.planner.lab import Variant
from labdash.planner.placing.forms import on_cpu, whole
from labdash.planner.placing.outcome import Outcome, Trial
from labdash.planner.placing.seats import seats_at
from labdash.planner.prospects import prospect
from labdash.queries.before_pull import Question, read_verdicts
from labdash.queries.catalog_fits import lab_places, quant_fit
from labdash.queries.fit import Asked, read_fit
from labdash.queries.fit_loads import Load
from labdash.queries.guide_curve import curve
from labdash.queries.guide_one_model import read_model
from labdash.queries.guide_places import own_places
from labdash.queries.guide_reader import Reader, fits_here
from labdash.queries.lab import LabView, read_lab
from labdash.queries.library import read_library
from labdash.queries.snapshot import read_shelf, snapshot
from labdash.queries.variants import variants_of
from tests.labdash.views.sample_lab import GIB, MIB, add, gpu, install, reading, sample

pytestmark = pytest.mark.django_db
CONTEXT, QUANT = 8192, "Q4_K_M"
SEEING = ("gemma3:4b", "gemma3:12b", "qwen2.5vl:7b")
TEXT = "qwen3:8b"
# Less than what reads images takes, with or without room for one; more than pages round by.
NEAR = 400 * MIB
# What the driver of a sample's card keeps, and what Ollama leaves free beside a model.
RESERVE = 360 * MIB + GIB


@dataclass(frozen=True)
class Machine:
    """A machine that is told by the GPUs' sizes, or by its RAM alone."""

    gpus_bytes: tuple[int, ...]
    ram_bytes: int

    def put(self) -> None:
        """Store it."""
        cards = [
            gpu(f"GPU-{index}", index, "NVIDIA GeForce RTX 3090", size / GIB)
            for index, size in enumerate(self.gpus_bytes)
        ]
        add(sample("rog", cards, [reading()], ram_gib=(0, self.ram_bytes / GIB)))


def planned() -> PlannedNode:
    return snapshot(read_lab(now=timezone.now()), wanted=()).nodes[0]


def variant(name: str) -> Variant:
    return variants_of(name, QUANT, QUANT, shelf=read_shelf())[0]


def by_planner(name: str) -> str:
    node = planned()
    return prospect(node, node.instances[0], variant(name), CONTEXT).verdict


def by_fit(name: str, lab: LabView) -> str:
    asked = Asked(name=name, quant=QUANT, load=Load(context=CONTEXT), without_models=True)
    found = read_fit(asked, now=lab.now).nodes[0].places
    verdicts = [each.fit.verdict for each in found if each.fit]
    return min(verdicts, key=("whole", "part", "no", "unknown").index)


def verdicts(name: str) -> dict[str, str]:
    """Return what each page says of the one machine."""
    lab, library = read_lab(now=timezone.now()), read_library()
    own = own_places(lab, library)
    (place,) = own
    pull = read_verdicts(Question(name=name, ctx=CONTEXT, alone=True), now=lab.now).own
    assert pull
    row = read_model(name, own, CONTEXT).carried[0]
    one = {cell.variant.quant: cell.verdict for cell in row.cells if cell}
    step = next(each for each in curve(place, name).steps if each.variant.quant == QUANT)
    here = fits_here(Reader(place=place, own=own), name, [QUANT], CONTEXT)
    known = find_model(name).model
    return {
        "planner": by_planner(name),
        "will it fit": by_fit(name, lab),
        "new pull": pull.cells[0].shown.verdict,
        "catalog": quant_fit(known, QUANT, lab_places(lab, library)).kind,
        "one model": one[QUANT],
        "closer view": "whole" if step.most_context >= CONTEXT else "",
        "fits here": "whole" if here[QUANT] else "",
    }


def needed_bytes(name: str, *, in_ram: bool) -> int:
    """Tell what the planner counts where there is room for everything."""
    Machine(() if in_ram else (48 * GIB,), 64 * GIB).put()
    node = planned()
    seats = seats_at(node, node.instances[0]).items()
    seat = next(seat for member, seat in seats if bool(member.gpus) != in_ram)
    found = (on_cpu if in_ram else whole)(Trial(variant(name), CONTEXT, seat))
    assert isinstance(found, Outcome)
    Node.objects.all().delete()
    return found.host_bytes if in_ram else found.gpu_bytes[0]


def assert_all_say(name: str, expected: str) -> None:
    told = {page: "whole" if word == "ram" else word for page, word in verdicts(name).items()}
    for page in ("closer view", "fits here"):
        assert (told.pop(page) == "whole") == (expected == "whole")
    assert set(told.values()) == {expected}, told


@pytest.mark.parametrize("name", [*SEEING, TEXT])
@pytest.mark.parametrize(("more_bytes", "expected"), [(-NEAR, "part"), (NEAR, "whole")])
def test_verdict_on_a_card(name: str, more_bytes: int, expected: str) -> None:
    Machine((needed_bytes(name, in_ram=False) + RESERVE + more_bytes,), 64 * GIB).put()
    assert_all_say(name, expected)


def test_verdict_with_the_margin_that_the_owner_wants() -> None:
    Machine((needed_bytes(TEXT, in_ram=False) + RESERVE - GIB + NEAR,), 64 * GIB).put()
    Gpu.objects.update(margin_bytes=0)
    assert_all_say(TEXT, "whole")


@pytest.mark.parametrize("name", ["gemma3:4b", TEXT])
@pytest.mark.parametrize(("more_bytes", "expected"), [(-NEAR, "no"), (NEAR, "whole")])
def test_verdict_without_a_gpu(name: str, more_bytes: int, expected: str) -> None:
    Machine((), needed_bytes(name, in_ram=True) + more_bytes).put()
    assert_all_say(name, expected)


@pytest.mark.parametrize(("more_bytes", "expected"), [(NEAR, "part"), (3 * NEAR, "whole")])
def test_verdict_on_two_cards_of_which_the_first_reads_images(
    more_bytes: int, expected: str
) -> None:
    """Layers are shared by what is free, so that the second has room to spare."""
    half = needed_bytes("gemma3:4b", in_ram=False) // 2 + RESERVE + more_bytes
    Machine((half, half), 64 * GIB).put()
    assert_all_say("gemma3:4b", expected)


def test_model_that_the_lab_has_without_what_reads_images_counts_none() -> None:
    """What is for the whole would not fit here with it."""
    Machine((needed_bytes("gemma3:4b", in_ram=False) + RESERVE - NEAR,), 64 * GIB).put()
    row = install(Node.objects.get(), "gemma3:4b", QUANT, 2.5)
    Weights.objects.filter(installed_models=row).update(vision=False)
    assert_all_say("gemma3:4b", "whole")


@pytest.mark.parametrize(("name", "colours"), [("gemma3:4b", 5), (TEXT, 4)])
@pytest.mark.parametrize("card", ["RTX 3060 12 GB", "Mac 32 GB", "no GPU, 32 GB RAM"])
def test_parts_add_up_on_the_labs_machines_and_on_described_ones(
    name: str, colours: int, card: str
) -> None:
    Machine((24 * GIB,), 64 * GIB).put()
    asked = Asked(name=name, quant=QUANT, load=Load(context=CONTEXT), card=card)
    found = read_fit(asked, now=timezone.now())
    assert found.described
    for each in (found.described, found.nodes[0].places[0]):
        assert each.fit
        total = sum(use.total_bytes for use in each.fit.used) or each.fit.host_bytes
        assert each.used_bytes == total
        parts = [part for part in each.parts if part.kind == "model"]
        assert max(part.colour or 0 for part in parts) == colours
