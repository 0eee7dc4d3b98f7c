"""One search for the best plan, in a process of its own that is killed when its time is over."""

import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

from django.conf import settings

from labdash.domain.solver import Answer, Question, frame, read_frame, unpacked
from labdash.planner.explain import explained
from labdash.planner.greedy import quick as greedy
from labdash.planner.lab import Lab
from labdash.planner.plan import Plan
from labdash.queries.variants import smaller

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "labdash.domain.solver")
# What a process may take beside its search: to start, and to put the plan into words.
GRACE_S = 20.0
# So often a lab is pickled anew that another thread has added to meanwhile.
MOST_PICKLED = 20
OUT_OF_TIME = "the search was ended before it had found a plan: this is the quick one"
FAILED = "the search failed: this is the quick plan"


class Search:
    """One run of the solver."""

    def __init__(
        self, question: Question, *, grace_s: float = GRACE_S, command: tuple[str, ...] = ()
    ) -> None:
        """Take what is asked; nothing runs yet."""
        self._question = question
        self._grace_s = grace_s
        self._command = command or COMMAND
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ended = False

    def run(self) -> Plan:
        """Wait for the best plan that comes in time, else make the quick one."""
        last: Answer | None = None
        try:
            for answer in self._answers():
                last = answer
        except (OSError, pickle.PickleError, EOFError) as error:
            # As where it was ended while it was still told its question.
            log.warning("solver broke off: %s", error)
        if last is None:
            return self._instead()
        stage, plan = last
        return plan if stage != "solved" else explained(self._question.lab, plan, smaller=smaller)

    def end(self) -> None:
        """Kill the process; what it answered so far is what ``run`` returns."""
        self._is_ended = True
        if self._process is not None:
            self._process.kill()

    def _answers(self) -> Iterator[Answer]:
        environment = {**os.environ, "PYTHONPATH": str(settings.BASE_DIR)}
        pipe = subprocess.PIPE
        with subprocess.Popen(  # noqa: S603 - our own module
            self._command, stdin=pipe, stdout=pipe, env=environment
        ) as process:
            self._process = process
            timer = threading.Timer(self._question.limit_s + self._grace_s, self.end)
            timer.start()
            try:
                yield from self._read(process)
            finally:
                timer.cancel()
                process.kill()

    def _read(self, process: "subprocess.Popen[bytes]") -> Iterator[Answer]:
        if self._is_ended or process.stdin is None or process.stdout is None:
            return
        process.stdin.write(frame(_pickled(self._question)))
        process.stdin.flush()
        while (content := read_frame(process.stdout)) is not None:
            yield unpacked(content, self._question.lab)

    def _instead(self) -> Plan:
        plan = quick(self._question.lab)
        if self._is_ended:
            return replace(plan, limited_by="time", warnings=(*plan.warnings, OUT_OF_TIME))
        return replace(plan, warnings=(*plan.warnings, FAILED))


def _pickled(question: Question) -> bytes:
    """Pickle what another thread may plan at the same time: its caches grow as it is looked at."""
    for _ in range(MOST_PICKLED):
        try:
            return pickle.dumps(question)
        except RuntimeError:
            continue
    return pickle.dumps(question)


def quick(lab: Lab) -> Plan:
    """Plan a lab at once, with reasons and without a search."""
    return explained(lab, greedy(lab), smaller=smaller)
