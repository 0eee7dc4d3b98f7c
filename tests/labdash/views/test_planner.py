"""The planner's pages, with a lab as reports would have left it and the planner itself."""

import re
from collections.abc import Iterator
from time import sleep
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labdash.domain import planning
from labdash.domain.searching import quick
from labdash.models import Deployment, Gpu, Plan, PlanItem, PlanState, Prediction
from labdash.planner.lab import Lab
from labdash.planner.plan import Plan as Answer
from labdash.views import planning as planning_views
from tests.labdash.views.polling import POLL, count_queries, parts, poll, text_of
from tests.labdash.views.sample_lab import GIB, add, five_nodes, gpu, install, reading, sample
from tests.labdash.views.test_overview import bare
from tests.processes import eventually

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture(autouse=True)
def _no_search_left() -> Iterator[None]:
    """End what a test has begun to search."""
    yield
    planning.stop()


def lab(*slugs: str, gib: float = 24) -> None:
    """Store machines with one RTX 3090 and qwen3:8b on the disk."""
    for slug in slugs or ("rog",):
        node = add(
            sample(slug, [gpu(f"GPU-{slug}", 0, "NVIDIA GeForce RTX 3090", gib)], [reading()])
        )
        install(node, "qwen3:8b", "Q4_K_M", 5)


def want(name: str = "chat", **fields: object) -> Deployment:
    values: dict[str, object] = {
        "model": "qwen3:8b",
        "quant_floor": "Q4_K_M",
        "quant_wish": "Q4_K_M",
        "ctx_floor": 4096,
        "ctx_wish": 8192,
    }
    return Deployment.objects.create(name=name, **{**values, **fields})


def planned(page: Client, url: str = "/planner/") -> str:
    """Return the page once there is a plan."""
    found = [""]

    def look() -> bool:
        found[0] = text_of(page.get(url))
        return not re.search("Planning…|Planning anew", found[0])

    assert eventually(look)
    return found[0]


def solved(page: Client, url: str = "/planner/") -> str:
    """Return the page once the search is over."""
    found = [""]

    def look() -> bool:
        found[0] = text_of(page.get(url))
        return not re.search("Planning…|Planning anew|A quick answer|looking", found[0])

    assert eventually(look)
    return found[0]


def key_of(shown: str) -> str:
    match = re.search(r"/planner/apply/\?plan=([\w-]+)", shown)
    assert match
    return match.group(1)


def test_empty_lab_says_what_to_do(page: Client) -> None:
    shown = bare(text_of(page.get("/planner/")))
    assert "What should your lab serve?" in shown
    assert "Add the first model that your lab should serve." in shown


def test_first_evening_offers_to_begin_with_what_is_there(page: Client) -> None:
    five_nodes()
    shown = text_of(page.get("/planner/"))
    assert "Begin with what is installed and loaded" in shown
    assert 'hx-post="/planner/adopt/"' in shown


def test_plan_tells_place_quant_context_size_and_speed(page: Client) -> None:
    lab()
    want()
    shown = bare(planned(page))
    assert "It fits." in shown
    assert re.search(r"Q4_K_M · 8k · GPU 0 of rog · [\d.]+ GiB · about \d+ tokens/s", shown.text)
    assert re.search(r"GPU RTX 3090 [\d.]+ / 24.0 GiB", shown.text)


def test_less_than_wished_says_why(page: Client) -> None:
    lab(gib=8)
    want(ctx_floor=4096, ctx_wish=32768)
    shown = bare(planned(page))
    assert "less context" in shown
    assert re.search(r"Context \S+k instead of 32k: 32k needs [\d.]+ GiB more than", shown.text)


def test_refusal_names_what_binds_and_ways_out_that_can_be_taken(page: Client) -> None:
    lab(gib=8)
    row = want("big", model="qwen3:14b", ctx_floor=16384, ctx_wish=16384)
    shown = planned(page)
    assert "It does not fit." in shown
    assert re.search(r"needs [\d.]+ GiB", bare(shown).text)
    way = re.search(rf'hx-post="(/planner/{row.pk}/change/\?kind=[^"]+)"', shown)
    assert way
    page.post(way.group(1).replace("&amp;", "&"))
    assert "It fits." in planned(page)


def test_search_ends_with_how_good_the_plan_is(page: Client) -> None:
    lab()
    want()
    assert "Proved best for your order of priorities" in solved(page)


def test_poll_answers_204_while_nothing_changes_and_else_with_what_did(page: Client) -> None:
    lab()
    want()
    shown = solved(page)
    assert poll(page, shown).status_code == 204
    want("more")
    answer = planned(page, "/planner/?v=none") and text_of(
        page.get("/planner/?v=none", headers=POLL)
    )
    assert {"lead", "wanted", "bars"} <= set(parts(answer))


def test_fragment_roots_are_what_the_page_replaces(page: Client) -> None:
    lab()
    want()
    planned(page)
    answer = text_of(page.get("/planner/?v=none", headers=POLL))
    assert parts(answer) == [
        "favicon", "banner", "lead", "warnings", "wanted", "bars", "proposals", "force", "past",
    ]  # fmt: skip


def test_queries_do_not_grow_with_the_wishes(page: Client) -> None:
    counts = []
    for number in range(3):
        lab(f"n{number}")
        want(f"d{number}")
        solved(page)
        counts.append(count_queries(page, "/planner/"))
    assert counts[0] == counts[2] == 20


def test_what_is_wanted_is_read_once(page: Client) -> None:
    lab()
    want()
    solved(page)
    with CaptureQueriesContext(connection) as queries:
        page.get("/planner/")
    read = [each["sql"] for each in queries if 'FROM "labdash_deployment"' in each["sql"]]
    assert len(read) == 1


def test_preview_shows_what_changes_and_apply_puts_it_in_force(page: Client, owner: User) -> None:
    lab()
    want()
    solved(page)
    shown = text_of(page.get("/planner/preview/"))
    assert "rog/ollama loads labdash/chat: Q4_K_M at 8k" in bare(shown)
    response = page.post(f"/planner/apply/?plan={key_of(shown)}", headers=HTMX)
    assert response.headers["HX-Redirect"] == "/planner/"
    plan = Plan.objects.get()
    assert (plan.state, plan.requested_by) == (PlanState.APPLYING, owner)
    assert plan.content["placements"][0]["deployment"] == "chat"
    item = plan.items.get()
    assert (item.deployment_name, item.ctx, item.alias) == ("chat", 8192, "labdash/chat")
    applying = bare(text_of(page.get("/planner/")))
    assert "Being applied 0 of 1 steps done" in applying
    assert "being applied: another can follow when that is done or cancelled" in applying
    assert "Preview and apply" not in applying


def test_apply_without_htmx_leads_back_to_the_planner(page: Client) -> None:
    lab()
    want()
    solved(page)
    key = key_of(text_of(page.get("/planner/preview/")))
    response = page.post(f"/planner/apply/?plan={key}")
    assert (response.status_code, response.headers["Location"]) == (302, "/planner/")


def test_plan_that_was_not_shown_is_not_applied(page: Client) -> None:
    lab()
    want()
    solved(page)
    key = key_of(text_of(page.get("/planner/preview/")))
    want("more")
    response = page.post(f"/planner/apply/?plan={key}", headers=HTMX)
    assert response.status_code == 422
    assert "look at the difference again" in text_of(response)
    assert not Plan.objects.exists()


def test_preview_of_nothing_has_no_button(page: Client) -> None:
    lab(gib=1)
    want()
    shown = text_of(page.get("/planner/preview/"))
    assert "Nothing can be placed." in shown
    assert "/planner/apply/" not in shown


def slowly(asked: Lab) -> Answer:
    """Plan late."""
    sleep(0.5)
    return quick(asked)


def test_plan_that_is_not_ready_is_not_called_none(
    page: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab()
    want()
    planned(page)
    want("more")
    monkeypatch.setattr(planning_views, "WAIT_S", 0.0)
    monkeypatch.setattr(planning, "quick", slowly)
    shown = text_of(page.get("/planner/preview/"))
    assert "There is no plan yet: it is still being made." in shown
    assert "/planner/apply/" not in shown
    response = page.post("/planner/apply/?plan=any", headers=HTMX)
    assert "There is no plan yet" in text_of(response)


def in_force(of: PlanState = PlanState.CURRENT, **fields: object) -> PlanItem:
    """Store a plan in force with one item on rog."""
    row = Deployment.objects.first() or want()
    plan = Plan.objects.create(state=of, applied_at=timezone.now())
    instance = Gpu.objects.select_related("node").all()[0].node.instances.all()[0]
    values: dict[str, Any] = {
        "deployment": row,
        "deployment_name": row.name,
        "model": "qwen3:8b",
        "alias": f"labdash/{row.name}",
        "quant": "Q4_K_M",
        "ctx": 8192,
        "bytes": {"rog/0": 6 * GIB},
        "state": "ready",
        **fields,
    }
    return PlanItem.objects.create(plan=plan, instance=instance, **values)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"verdict": "as-planned"}, "In force 1 of 1 as planned"),
        (
            {"verdict": "spilled", "verdict_text": "14 of 37 layers are on the CPU."},
            "chat on rog spilled to the CPU 14 of 37 layers are on the CPU.",
        ),
        (
            {"state": "failed", "reason": "The disk is full."},
            "chat on rog failed The disk is full.",
        ),
        ({"residency": "on-demand"}, "In force 0 of 1 as planned, 1 on demand"),
        ({"residency": "on-demand"}, "1 placement needs no look"),
        (
            {"residency": "on-demand", "verdict": "not-loaded", "verdict_text": "Not there."},
            "ready, loads when asked",
        ),
    ],
)
def test_plan_in_force_tells_how_each_part_does(
    page: Client, fields: dict[str, Any], said: str
) -> None:
    lab()
    in_force(**fields)
    shown = bare(planned(page))
    assert said in shown


def test_what_runs_stays_where_it_is_while_moving_it_gains_nothing(page: Client) -> None:
    lab("rog", "twin")
    in_force(verdict="as-planned", bytes={"rog/0": 6 * GIB})
    where = re.search(r"8k · (GPU 0 of \w+)", bare(solved(page)).text)
    assert where
    assert where.group(1) == "GPU 0 of rog"


def test_cancel_stops_what_is_not_done(page: Client) -> None:
    lab()
    item = in_force(PlanState.APPLYING, state="waiting")
    page.post("/planner/cancel/", headers=HTMX)
    item.refresh_from_db()
    assert (item.state, item.reason) == ("failed", "Cancelled.")
    page.post("/planner/again/", headers=HTMX)
    item.refresh_from_db()
    assert item.state == "waiting"


def test_a_plan_is_let_go_by_a_button_of_the_page(page: Client) -> None:
    lab()
    item = in_force()
    assert 'id="let-go"' in page.get("/planner/").content.decode()
    page.post("/planner/let-go/", headers=HTMX)
    item.plan.refresh_from_db()
    assert item.plan.state == PlanState.REPLACED
    assert 'id="let-go"' not in page.get("/planner/").content.decode()


def test_cancel_without_a_plan_says_so(page: Client) -> None:
    response = page.post("/planner/cancel/", headers=HTMX)
    assert response.status_code == 422
    assert "No plan is in force." in text_of(response)


def test_one_click_goes_back_to_the_plan_before(page: Client) -> None:
    lab()
    first = in_force(PlanState.REPLACED, ctx=4096)
    in_force(alias="labdash/other")
    shown = text_of(page.get("/planner/back/"))
    assert "rog/ollama loads labdash/chat: Q4_K_M at 4k, 6.0 GiB on rog/0." in bare(shown)
    page.post("/planner/back/apply/", headers=HTMX)
    plan = Plan.objects.order_by("-pk")[0]
    assert plan.returns_to == first.plan
    assert plan.items.get(wish="serve").ctx == 4096


def test_way_back_onto_a_card_that_its_owner_has_is_said_before(page: Client) -> None:
    lab()
    in_force(PlanState.REPLACED)
    in_force(alias="labdash/other")
    assert "given back" not in bare(text_of(page.get("/planner/back/")))
    Gpu.objects.update(given_back=True)
    shown = bare(text_of(page.get("/planner/back/")))
    assert "It uses rog/0, which is given back now." in shown


def test_there_is_no_way_back_without_a_plan_before(page: Client) -> None:
    lab()
    in_force()
    assert "There is no plan before this one." in text_of(page.get("/planner/back/"))
    assert "Back to the plan before" not in text_of(page.get("/planner/"))
    response = page.post("/planner/back/apply/", headers=HTMX)
    assert response.status_code == 422


def test_export_shows_commands_and_is_a_file_too(page: Client) -> None:
    lab()
    want()
    shown = text_of(page.get("/planner/export/"))
    assert "PARAMETER num_ctx 8192" in shown
    assert "llama-server" in shown
    response = page.get("/planner/export.txt")
    assert response.headers["Content-Disposition"] == 'attachment; filename="labdash-plan.sh"'
    assert "ollama create labdash/chat" in text_of(response)


def test_export_of_nothing_says_so(page: Client) -> None:
    assert "There is no plan to export" in text_of(page.get("/planner/export/"))
    assert text_of(page.get("/planner/export.txt")) == ""


def test_predictions_are_listed_with_their_errors(page: Client) -> None:
    lab()
    row = Gpu.objects.get()
    Prediction.objects.create(
        at=timezone.now(),
        instance=row.node.instances.all()[0],
        gpu=row,
        gpu_name=row.name,
        engine="0.32.15",
        model="qwen3:8b",
        quant="Q4_K_M",
        ctx=8192,
        buffers_bytes=6 * GIB,
        overhead_bytes=GIB // 2,
        observed_bytes=int(6.6 * GIB),
    )
    shown = bare(text_of(page.get("/planner/predictions/")))
    assert "Off by 1.5 % in the median and 1.5 % at worst, over 1 load on a GPU." in shown
    assert "qwen3:8b Q4_K_M · 8k rog · RTX 3090 0.32.15 6.5 GiB 6.6 GiB +0.1 GiB" in shown
    assert "Off by 1.5 %" in bare(text_of(page.get("/planner/")))
    Prediction.objects.all().delete()
    assert "Nothing was compared yet." in text_of(page.get("/planner/predictions/"))
