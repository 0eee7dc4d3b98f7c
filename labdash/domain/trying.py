"""Asking a model once. The prompt goes to its node by the store, for seconds, and nowhere else."""

import secrets
from datetime import datetime

from labdash import live
from labdash.domain import orders
from labdash.domain.errors import LabDashError
from labdash.domain.readiness import STORE_AWAY, require_ready
from labdash.models import InstalledModel, LoadJob, LoadState, LoadWish
from labdash.queries.library import plain_name
from labdash.queries.trying import RUN_KEPT_S, Run, may_be_named, run_key
from workers import wire
from workers.wire.tries import MOST_PROMPT, TAKE_S

ID_BYTES = 16


def ask(*, user: int, installed: InstalledModel, prompt: str, now: datetime) -> Run:
    """Ask an installed model; the answer is read with the run. Raises ``LabDashError``."""
    node = installed.instance.node
    _require_words(prompt)
    require_ready(node, to_be="asked", now=now)
    try:
        run = Run(
            id=secrets.token_hex(ID_BYTES),
            user=user,
            node=node.slug,
            address=orders.address(node),
            instance=installed.instance.name,
            model=installed.name,
            asked_at=now,
        )
        if installed.is_cloud or not may_be_named(installed.name):
            raise LabDashError(f"{installed.name} does not run on {node.slug}.")
        _leave(run, prompt)
    except live.StoreDown as error:
        raise LabDashError(STORE_AWAY) from error
    orders.send_try(run.id, installed=installed, main_gpu=_pin(installed))
    return run


def stop(run: Run) -> None:
    """Want an answer no more: its worker leaves it within a second. Raises ``live.StoreDown``."""
    with live.store_errors():
        live.store().delete(
            wire.try_wish_key(run.address, run.id), wire.try_prompt_key(run.address, run.id)
        )


def _require_words(prompt: str) -> None:
    if not prompt.strip():
        raise LabDashError("Write something to ask.")
    if len(prompt) > MOST_PROMPT:
        raise LabDashError(f"A prompt has at most {MOST_PROMPT:,} characters here.")


def _pin(installed: InstalledModel) -> int | None:
    """Return the GPU that was chosen when the model was last loaded by hand."""
    names = {installed.name, plain_name(installed.name)}
    jobs = LoadJob.objects.filter(instance=installed.instance, model__in=names)
    last = jobs.filter(wish=LoadWish.LOAD, state=LoadState.LOADED).first()
    return last.main_gpu if last else None


def _leave(run: Run, prompt: str) -> None:
    """Leave the prompt where its node takes it, and what the pages need to find the answer."""
    with live.store_errors():
        pipe = live.store().pipeline(transaction=True)
        pipe.set(run_key(run.id), run.model_dump_json(), ex=RUN_KEPT_S)
        pipe.set(wire.try_wish_key(run.address, run.id), 1, ex=TAKE_S)
        pipe.set(wire.try_prompt_key(run.address, run.id), prompt, ex=TAKE_S)
        pipe.execute()
