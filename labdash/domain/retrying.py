"""Which failed pulls are tried again by themselves, and when. Pure."""

from dataclasses import dataclass

from workers.wire import PullCause

# Twice as long before each further try, up to an hour.
FIRST_WAIT_S = 60.0
LONGEST_WAIT_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What is done about a kind of failure.

    ``advice`` says what a person can do. ``most`` tries bound it where more are allowed.
    """

    name: str
    is_retried: bool = False
    advice: str = ""
    first_wait_s: float = FIRST_WAIT_S
    most: int | None = None


RULES: dict[PullCause, Rule] = {
    "no-space": Rule(name="no space", advice="Free some space there, then try again."),
    "no-such-model": Rule(name="no such model or tag", advice="Check its name."),
    "needs-newer-ollama": Rule(name="needs a newer Ollama", advice="Update Ollama there."),
    "not-public": Rule(name="not given to everybody", advice="Check its name."),
    "refused": Rule(name="refused", advice="The reason tells what to change."),
    "spoiled": Rule(name="remains that cannot go on", advice="Delete them, then try again."),
    "disk": Rule(name="Ollama cannot write its disk", advice="Mend the disk or its rights."),
    # A registry that counts requests forgives after some minutes.
    "busy": Rule(name="too many requests", is_retried=True, first_wait_s=600.0),
    "unreachable": Rule(name="registry unreachable", is_retried=True),
    "registry-fault": Rule(name="the registry has an error", is_retried=True),
    # A source that damages a file twice will do so again, and each try costs the whole file.
    "damaged": Rule(name="arrived damaged", is_retried=True, most=3),
    "stalled": Rule(name="stalled", is_retried=True),
    "server-away": Rule(name="Ollama went away", is_retried=True),
    "broken-off": Rule(name="broken off", is_retried=True),
    "slow": Rule(name="not done in a day", is_retried=True),
    "other": Rule(name="another reason", is_retried=True),
}


def rule_of(cause: PullCause | None) -> Rule:
    """Return the rule of a kind of failure; an older worker tells none."""
    return RULES[cause or "other"]


def wait_s(cause: PullCause | None, *, failures: int, tries: int) -> float | None:
    """Return how long to wait after so many failures in a row, ``None`` to give up."""
    rule = rule_of(cause)
    most = tries if rule.most is None else min(tries, rule.most)
    if not rule.is_retried or failures >= most:
        return None
    # A power of ten tries is no number of seconds any more.
    return min(LONGEST_WAIT_S, rule.first_wait_s * 2.0 ** min(failures - 1, 10))
