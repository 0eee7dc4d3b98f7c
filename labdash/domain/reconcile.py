"""Decide the next single step for the pull jobs of one instance. Pure: facts in, a step out."""

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
    bytes last arrived.
    """

    id: int
    model: str
    fruitless: int = 0
    cancel_requested: bool = False
    sent_age_s: float | None = None
    sign_age_s: float | None = None
    reason: str = ""

    @property
    def in_flight(self) -> bool:
        """Whether a node has the order."""
        return self.sent_age_s is not None

    @property
    def quiet_s(self) -> float:
        """Seconds since anything was heard of it, the sending included."""
        ages = [age_s for age_s in (self.sent_age_s, self.sign_age_s) if age_s is not None]
        return min(ages, default=0.0)


@dataclass(frozen=True, kw_only=True)
class Place:
    """An instance with its jobs, the oldest first. ``seen_age_s`` is ``None`` if never seen."""

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
    """Take the job back until its node reports again."""


class Fail(_Explained):
    """Give up."""


class Explain(_Explained):
    """Say why a queued job waits."""


def next_step(place: Place) -> Step | None:
    """Return the first step that applies, or ``None`` when all is as it should be."""
    return (
        _end_cancelled(place)
        or _take_back(place)
        or _send_again(place)
        or _send_next(place)
        or _explain(place)
    )


def _end_cancelled(place: Place) -> Step | None:
    for job in place.jobs:
        if job.cancel_requested and not job.in_flight:
            return Cancel(job=job, reason="Cancelled.")
        if job.cancel_requested and (place.silent or job.quiet_s > QUIET_AFTER_S):
            reason = f"Cancelled; {place.node} did not confirm it and may go on for a while."
            return Cancel(job=job, reason=reason)
    return None


def _take_back(place: Place) -> Step | None:
    if place.silent:
        for job in place.jobs:
            if job.in_flight:
                return Requeue(job=job, reason=_why_silent(place))
    return None


def _send_again(place: Place) -> Step | None:
    for job in place.jobs:
        if not job.in_flight or job.cancel_requested or job.quiet_s <= _patience_s(job):
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
    if place.paused or place.silent or any(job.in_flight for job in place.jobs):
        return None
    return next(iter(place.jobs), None)


def _explain(place: Place) -> Step | None:
    for job in place.jobs:
        if not job.in_flight and job.reason != (reason := _why_waiting(place)):
            return Explain(job=job, reason=reason)
    return None


def _why_waiting(place: Place) -> str:
    if place.paused:
        return f"Waits: {place.node} is paused."
    if place.silent:
        return _why_silent(place)
    running = next((job.model for job in place.jobs if job.in_flight), "another model")
    return f"Waits for {running}: one at a time on {place.instance}."


def _why_silent(place: Place) -> str:
    if place.seen_age_s is None:
        return f"Waits: {place.node} has not reported yet."
    return f"Waits: {place.node} has not reported for {lasted(place.seen_age_s)}."
