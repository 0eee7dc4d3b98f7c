"""Nothing that a node may report keeps a page or a command from saying what it says."""

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from labdash import live
from labdash.domain.problems import record_problems
from labdash.intake import Intake
from labdash.models import Gpu, InstalledModel, Node, Problem
from tests.factories import running_job, send
from tests.strange import VALUES, full_reports, strangest

PAGES = ("overview", "nodes", "models", "pulls", "addresses")


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_what_is_strange_is_stored_and_shown(
    value: str, page: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    job = running_job()
    reports = [strangest(report, value) for report in full_reports(job)]
    for report in reports:
        send(report)
    intake = Intake()
    assert intake.read_once(block_ms=1) == len(reports)
    assert intake.rejected == {}
    assert (Gpu.objects.count(), InstalledModel.objects.exists()) == (2, True)
    record_problems(now=timezone.now())
    assert Problem.objects.exists()
    of_node = [reverse(name, args=["rog"]) for name in ("node_detail", "node_try")]
    for url in (*map(reverse, PAGES), *of_node):
        assert page.get(url).status_code == 200
    live.store().delete(live.state_key("rog"))
    assert Node.objects.get().last_sample
    call_command("status")
    call_command("status", json=True)
    assert "rog" in capsys.readouterr().out
