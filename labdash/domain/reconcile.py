"""Decide the next single step for the pull jobs of one instance. Pure: facts in, a step out."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from labdash.wording import lasted

# A worker reports at least every 5 s, so six reports in a row are missing by then.
QUIET_AFTER_S = 30.0
# Twice as long before each further try, up to this.
LONGEST_PAUSE_S = 240.0
MAX_TRIES = 5
# Later than pages say it: an order is not taken back for two lost samples.
SILENT_AFTER_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job that has not ended. ``sent_age_s`` is ``None`` while no node has it.

    ``sign_age_s`` counts from the last report about it. ``fruitless`` counts the orders since
    bytes last arrived. ``rest`` says why it must not run now, and is empty where it may;
    ``is_begun``: a node had it once; ``is_arrived``: there is nothing left to stop;
    ``keeps_reason``: it says already why it waits; ``is_pacing``: it rests between two turns;
    ``is_asking``: a machine was asked to give it, and answers within seconds.
    """

    id: int
    model: str
    fruitless: int = 0
    cancel_requested: bool = False
    pause_requested: bool = False
    rest: str = ""
    is_paused: bool = False
    is_held: bool = False
    is_begun: bool = False
    is_arrived: bool = False
    keeps_reason: bool = False
    is_pacing: bool = False
    is_asking: bool = False
    sent_age_s: float | None = None
    sign_age_s: float | None = None
    reason: str = ""

    @property
    def in_flight(self) -> bool:
        """Whether a node has the order."""
        return self.sent_age_s is not None

    @property
    def has_turn(self) -> bool:
        """Whether no other job of its instance may begin."""
        return self.in_flight or self.is_asking or (self.is_pacing and not self.is_held)

    @property
    def quiet_s(self) -> float:
        """Seconds since anything was heard of it, the sending included."""
        ages = [age_s for age_s in (self.sent_age_s, self.sign_age_s) if age_s is not None]
        return min(ages, default=0.0)


@dataclass(frozen=True, kw_only=True)
class Place:
    """An instance with its jobs in their order. ``seen_age_s`` is ``None`` if never seen."""

    node: str
    instance: str
    paused: bool = False
    seen_age_s: float | None = None
    jobs: tuple[Job, ...] = ()

    @property
    def silent(self) -> bool:
        """Whether its node cannot be reckoned with now."""
        return self.seen_age_s is None or self.seen_age_s > SILENT_AFTER_S


@dataclass(frozen=True, kw_only=True)
class Step:
    """What to do with one job."""

    job: Job


@dataclass(frozen=True, kw_only=True)
class Send(Step):
    """Send the order, for the first time or again."""


@dataclass(frozen=True, kw_only=True)
class _Explained(Step):
    reason: str


class Cancel(_Explained):
    """End a job whose cancelling nobody will confirm."""


class Requeue(_Explained):
    """Take the job back, or let it wait for its turn again."""


class Stop(_Explained):
    """Ask the node to stop for now; what has arrived stays."""


class Pause(_Explained):
    """Note that the job rests."""


class Fail(_Explained):
    """Give up."""


class Explain(_Explained):
    """Say why a queued job waits."""


def next_step(place: Place) -> Step | None:
    """Return the first step that applies, or ``None`` when all is as it should be."""
    return (
        _end_cancelled(place)
        or _settle_pause(place)
        or _take_back(place)
        or _stop(place)
        or _send_again(place)
        or _pause_waiting(place)
        or _send_next(place)
        or next(_explain(place), None)
    )


def explanations(place: Place) -> dict[str, list[int]]:
    """Return why jobs wait that do not say so yet: of hundreds, most for the same reason."""
    found: dict[str, list[int]] = defaultdict(list)
    for step in _explain(place):
        if isinstance(step, Explain):
            found[step.reason].append(step.job.id)
    return found


def _end_cancelled(place: Place) -> Step | None:
    for job in place.jobs:
        if job.cancel_requested and not job.in_flight:
            return Cancel(job=job, reason="Cancelled.")
        if job.cancel_requested and (place.silent or job.quiet_s > QUIET_AFTER_S):
            reason = f"Cancelled; {place.node} did not confirm it and may go on for a while."
            return Cancel(job=job, reason=reason)
    return None


def _settle_pause(place: Place) -> Step | None:
    """Note a pause that nobody will confirm; one that was taken back meanwhile waits again."""
    for job in place.jobs:
        if not job.in_flight or not job.pause_requested:
            continue
        if place.silent or job.quiet_s > QUIET_AFTER_S:
            if not job.rest:
                return Requeue(job=job, reason=_why_waiting(place))
            unsure = f"{job.rest} {place.node} did not confirm it and may go on for a while."
            return Pause(job=job, reason=unsure)
    return None


def _stop(place: Place) -> Step | None:
    for job in place.jobs:
        if job.in_flight and job.rest and not (job.pause_requested or job.is_arrived):
            return Stop(job=job, reason=job.rest)
    return None


def _pause_waiting(place: Place) -> Step | None:
    """Call paused what somebody holds, and what must wait although it was begun."""
    for job in place.jobs:
        is_stopped = job.is_held or (job.is_begun and not job.keeps_reason)
        if not job.in_flight and job.rest and is_stopped and not job.is_paused:
            return Pause(job=job, reason=job.rest)
    return None


def _take_back(place: Place) -> Step | None:
    if place.silent:
        for job in place.jobs:
            if job.in_flight:
                return Requeue(job=job, reason=_why_silent(place))
    return None


def _send_again(place: Place) -> Step | None:
    for job in place.jobs:
        is_stopping = job.cancel_requested or job.pause_requested
        if not job.in_flight or is_stopping or job.quiet_s <= _patience_s(job):
            continue
        if job.fruitless >= MAX_TRIES:
            reason = f"{place.node} was sent this {MAX_TRIES} times and nothing arrived."
            return Fail(job=job, reason=reason)
        return Send(job=job)
    return None


def _patience_s(job: Job) -> float:
    return min(LONGEST_PAUSE_S, QUIET_AFTER_S * 2.0 ** max(0, job.fruitless - 1))


def _send_next(place: Place) -> Step | None:
    job = _first_waiting(place)
    return Send(job=job) if job else None


def _first_waiting(place: Place) -> Job | None:
    """Return the job to begin now: none while another runs or the node must not or cannot."""
    if place.paused or place.silent or any(job.has_turn for job in place.jobs):
        return None
    return next((job for job in place.jobs if not job.rest), None)


def _explain(place: Place) -> Iterator[Explain | Requeue]:
    for job in place.jobs:
        if job.in_flight:
            continue
        if job.is_paused and not job.rest:
            yield Requeue(job=job, reason=_why_waiting(place))
            continue
        # A pause that was not confirmed says more than that it is one.
        is_told = job.is_paused and job.reason.startswith(job.rest)
        reason = job.rest or _why_waiting(place)
        if not (job.keeps_reason or is_told) and job.reason != reason:
            yield Explain(job=job, reason=reason)


def _why_waiting(place: Place) -> str:
    if place.paused:
        return f"Waits: {place.node} is paused."
    if place.silent:
        return _why_silent(place)
    running = next((job.model for job in place.jobs if job.has_turn), "another model")
    return f"Waits for {running}: one at a time on {place.instance}."


def _why_silent(place: Place) -> str:
    if place.seen_age_s is None:
        return f"Waits: {place.node} has not reported yet."
    return f"Waits: {place.node} has not reported for {lasted(place.seen_age_s)}."
