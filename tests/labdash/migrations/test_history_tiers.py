"""Samples of before there were tiers are kept, and become history."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).parents[3]


def manage(folder: Path, *words: str) -> None:
    """Run a command of a hub of its own, on SQLite."""
    env = {**os.environ, "LABDASH_DATA_DIR": str(folder)}
    env.pop("DATABASE_URL", None)
    command = [sys.executable, "manage.py", *words]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_samples_of_before_there_were_tiers_are_kept(tmp_path: Path) -> None:
    manage(tmp_path, "migrate", "labdash", "0002")
    with closing(sqlite3.connect(tmp_path / "labdash.sqlite3")) as database, database:
        database.execute(
            "INSERT INTO labdash_node (slug, kind, agentless, paused, created_at, started_with,"
            " worker_version) VALUES ('rog', 'linux', 0, 0, '2026-11-01 12:00:00', '', '')"
        )
        database.execute(
            'INSERT INTO labdash_gpu (node_id, uuid, "index", name, pci_id, source, unified)'
            " VALUES (1, 'A', 0, 'P40', '', 'nvml', 0)"
        )
        for at in ("12:00:00.250000", "12:00:10.250000", "12:00:10.250000", "12:09:00"):
            database.execute(
                "INSERT INTO labdash_gpusample (gpu_id, at, memory_used_bytes)"
                f" VALUES (1, '2026-11-01 {at}', 7)"
            )
    manage(tmp_path, "migrate")
    code = (
        "from django.utils import timezone; from labdash.domain.history import roll_up;"
        " roll_up(now=timezone.now())"
    )
    manage(tmp_path, "shell", "-c", code)
    with closing(sqlite3.connect(tmp_path / "labdash.sqlite3")) as database:
        count = database.execute("SELECT count(*) FROM labdash_gpusample").fetchone()
        made = database.execute(
            "SELECT length_s, samples, memory_used_bytes, held FROM labdash_gpuperiod"
            " ORDER BY length_s, at"
        ).fetchall()
    assert count == (3,)
    assert made == [(60, 2, 7, None), (60, 1, 7, None), (600, 3, 7, None), (7200, 3, 7, None)]
