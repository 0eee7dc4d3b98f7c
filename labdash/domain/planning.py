"""Plans: the quick one at once, and the best that a search finds, asked for and fetched later.

Jobs are kept in this process: pages ask the process that answers them.
"""

import atexit
import hashlib
import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from labdash.domain.questions import Figures, figures_of
from labdash.domain.searching import Search, quick
from labdash.domain.solver import Question
from labdash.planner.lab import Lab
from labdash.planner.plan import Plan

__all__ = ["Job", "find", "plan", "quick", "result", "start", "stop"]
log = logging.getLogger(__name__)

USUAL_GAP = 0.01
USUAL_LIMIT_S = 10.0
MOST_LIMIT_S = 3600.0
# Questions whose answers are kept, and processes that search at once.
MOST_KEPT = 24
MOST_AT_ONCE = 2
WENT_WRONG = "The search for a plan went wrong: see the hub's log."


@dataclass(kw_only=True)
class Job:
    """A question, the lab as it was when it was asked, and its answer once there is one.

    ``trouble`` says why there will be none.
    """

    key: str
    lab: Lab
    figures: Figures
    search: Search
    plan: Plan | None = None
    trouble: str = ""
    done: threading.Event = field(default_factory=threading.Event)


_jobs: OrderedDict[str, Job] = OrderedDict()
_lock = threading.Lock()


def plan(
    lab: Lab, *, exact: bool = True, gap: float = USUAL_GAP, limit_s: float = USUAL_LIMIT_S
) -> Plan:
    """Plan a lab: by a search that is waited for, or at once."""
    return Search(Question(lab=lab, gap=gap, limit_s=limit_s)).run() if exact else quick(lab)


def start(lab: Lab, *, gap: float = USUAL_GAP, limit_s: float = USUAL_LIMIT_S) -> str:
    """Begin to search for the best plan of a lab, and return the key of the job.

    The same question is searched for once; two labs are the same where only what is measured
    differs, by little. Of many at once the oldest is ended, and has the plan that it found so far.
    """
    figures = figures_of(lab, gap, limit_s)
    with _lock:
        for job in reversed(_jobs.values()):
            if job.figures.is_near(figures):
                return job.key
        job = _job(lab, figures, Question(lab=lab, gap=gap, limit_s=limit_s))
        _jobs[job.key] = job
        _make_room()
    threading.Thread(target=_run, args=(job,), daemon=True).start()
    return job.key


def result(key: str) -> Plan | None:
    """Return the best plan of a job; None while it is searched for, and for unknown keys."""
    job = find(key)
    return job.plan if job else None


def find(key: str) -> Job | None:
    """Return a job that was started in this process, None where it is not known any more."""
    with _lock:
        return _jobs.get(key)


@atexit.register
def stop() -> None:
    """End all searches and forget their answers."""
    with _lock:
        jobs = list(_jobs.values())
        _jobs.clear()
    for job in jobs:
        job.search.end()


def _job(lab: Lab, figures: Figures, question: Question) -> Job:
    key = hashlib.sha256(repr(figures).encode()).hexdigest()[:32]
    return Job(key=key, lab=lab, figures=figures, search=Search(question))


def _make_room() -> None:
    """End the oldest searches and forget the oldest answers, where there are too many."""
    running = [job for job in _jobs.values() if not job.done.is_set()]
    for job in running[:-MOST_AT_ONCE]:
        job.search.end()
    while len(_jobs) > MOST_KEPT:
        _, job = _jobs.popitem(last=False)
        job.search.end()


def _run(job: Job) -> None:
    try:
        job.plan = job.search.run()
    except Exception:
        log.exception("search failed key=%s", job.key)
        job.trouble = WENT_WRONG
    finally:
        job.done.set()
