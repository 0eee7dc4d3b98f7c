"""Solve one lab in a process of its own: ``python -m labdash.domain.solver``.

It is given a pickled ``Question`` by the hub that started it, and answers with one frame after
another: the plan, then with its reasons, then with what would allow more. It ends itself when the
hub is gone.
"""

import io
import os
import pickle
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import IO, Any, BinaryIO, Literal

from labdash.catalog.own import Row, own_rows, take
from labdash.planner.explain import explained
from labdash.planner.lab import Deployment, Lab, Variant
from labdash.planner.plan import Plan
from labdash.planner.proposals import proposed
from labdash.queries.variants import smaller

# How far a plan is put into words.
type Stage = Literal["solved", "told", "whole"]
type Answer = tuple[Stage, Plan]

LENGTH_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class Question:
    """A lab, and how far to go for its plan. ``own`` are its entries of the catalog."""

    lab: Lab
    gap: float
    limit_s: float
    own: tuple[Row, ...] = field(default_factory=own_rows)


class LabPickler(pickle.Pickler):
    """Writes a plan without what is the lab's own: the hub has that already."""

    def __init__(self, file: BinaryIO, lab: Lab) -> None:
        """Number what the lab holds."""
        super().__init__(file)
        self._numbers = {id(each): number for number, each in enumerate(parts(lab))}

    def persistent_id(self, value: object) -> int | None:
        """Return the number of a deployment or variant of the lab."""
        return self._numbers.get(id(value))


class LabUnpickler(pickle.Unpickler):
    """Reads a plan with the deployments and variants of the reader's own lab."""

    def __init__(self, file: BinaryIO, lab: Lab) -> None:
        """Number what the lab holds, as the writer did."""
        super().__init__(file)
        self._parts = parts(lab)

    def persistent_load(self, number: Any) -> Deployment | Variant:
        """Return the part of the lab with a number."""
        part: Deployment | Variant = self._parts[number]
        return part


def parts(lab: Lab) -> list[Deployment | Variant]:
    """List deployments and their variants, in the order of the lab."""
    variants = (variant for each in lab.deployments for variant in each.variants)
    return [*lab.deployments, *variants]


def frame(content: bytes) -> bytes:
    """Put the length before what is sent."""
    return len(content).to_bytes(LENGTH_BYTES, "big") + content


def read_frame(stream: IO[bytes]) -> bytes | None:
    """Read one frame, None where the stream ends before its end."""
    length = stream.read(LENGTH_BYTES)
    if len(length) < LENGTH_BYTES:
        return None
    content = stream.read(int.from_bytes(length, "big"))
    return content if len(content) == int.from_bytes(length, "big") else None


def packed(answer: Answer, lab: Lab) -> bytes:
    """Write a plan for who has the lab."""
    buffer = io.BytesIO()
    LabPickler(buffer, lab).dump(answer)
    return buffer.getvalue()


def unpacked(content: bytes, lab: Lab) -> Answer:
    """Read a plan with the reader's own lab."""
    answer: Answer = LabUnpickler(io.BytesIO(content), lab).load()
    return answer


def answers(question: Question) -> Iterator[Answer]:
    """Yield the best plan, then with its reasons, then with what would allow more."""
    from labdash.planner.solve import solve  # noqa: PLC0415 - HiGHS is loaded in this process alone

    lab = question.lab
    take(question.own)
    plan = solve(lab, gap=question.gap, limit_s=question.limit_s, clock=time.monotonic)
    yield "solved", plan
    told = explained(lab, plan, smaller=smaller)
    yield "told", told
    yield "whole", replace(told, proposals=proposed(lab, told, clock=time.monotonic))


def main() -> None:
    """Answer the one question on standard input."""
    content = read_frame(sys.stdin.buffer)
    if content is None:
        return
    output = _alone()
    threading.Thread(target=_end_with_the_hub, daemon=True).start()
    question: Question = pickle.loads(content)  # noqa: S301 - the hub's own words
    for answer in answers(question):
        output.write(frame(packed(answer, question.lab)))
        output.flush()


def _alone() -> BinaryIO:
    """Keep standard output for frames: what a library prints there is for nobody."""
    own = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return own


def _end_with_the_hub() -> None:
    """Wait until the hub closes its end, which it does by ending too."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()
