"""Deleting what is not needed: by hand, as it was proposed, or by the owner's rule."""

import logging
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.utils import timezone

from labdash.domain import naming
from labdash.domain.errors import LabDashError
from labdash.domain.telemetry import UNWATCHED_AFTER
from labdash.models import InstalledModel, NameJob, NameState, PullSettings, UnusedRule
from labdash.queries.lab import read_lab
from labdash.queries.radar import can_come_again, is_own
from labdash.queries.storage import Proposal, Row, Server, TwinKey, read_servers, twin_key

log = logging.getLogger(__name__)

# What could not be deleted by the rule, or was kept by a person, is left alone for so long.
REST = timedelta(days=1)


def delete(*, installed: InstalledModel, user: User | None) -> NameJob:
    """Delete a name by hand. Raises ``LabDashError`` where something has to be ended before."""
    row = free_row(installed)
    return naming.delete(installed=installed, frees_bytes=row.frees_bytes, user=user)


def rename(*, installed: InstalledModel, target: str, user: User | None) -> NameJob:
    """Rename by hand, which deletes the old name. Raises ``LabDashError`` as ``delete`` does."""
    free_row(installed)
    return naming.rename(installed=installed, target=target, user=user)


def free_row(installed: InstalledModel) -> Row:
    """Return what is known of a name. Raises ``LabDashError`` where something is at it."""
    row = row_of(installed)
    if row is None:
        raise LabDashError(f"{installed.name} is not on {installed.instance} any more.")
    if row.bound:
        raise LabDashError(f"{row.name} stays: {row.bound}.")
    return row


def row_of(installed: InstalledModel) -> Row | None:
    """Return what is known of a name, ``None`` where it is gone."""
    servers = read_servers(read_lab(now=timezone.now()), settings=PullSettings.read())
    rows = (row for server in servers for row in server.rows)
    return next((row for row in rows if row.installed.pk == installed.pk), None)


def delete_proposed(*, installed: InstalledModel, user: User | None) -> int:
    """Delete all names of a proposal, which stands for one of them; return how many.

    Raises ``LabDashError`` where it is not proposed any more.
    """
    for server in read_servers(read_lab(now=timezone.now()), settings=PullSettings.read()):
        for proposal in server.proposals:
            if installed.pk in {row.installed.pk for row in proposal.rows}:
                return _delete_all(proposal, user=user)
    raise LabDashError(f"{installed.name} is needed or was used in the meantime: it stays.")


def tidy(*, now: datetime) -> int:
    """Delete by itself what the owner's rule says, where it says so; return how many names.

    On each server one proposal at a time, and only what would have been seen in use: where the
    machine reports now and was watched for all the time in which it was not, and so was every
    other server that lists the same file. What no pull would bring back is never deleted so.
    """
    settings = PullSettings.read()
    if settings.unused != UnusedRule.DELETE:
        return 0
    lab = read_lab(now=now)
    if not (lab.store_ok and lab.intake_ok):
        return 0
    since = now - timedelta(days=settings.unused_after_days)
    resting = _resting(now)
    servers = read_servers(lab, settings=settings)
    watched = [each for each in servers if _is_watched(each, since, now=now)]
    keys = {each.instance.pk for each in watched}
    others = (each for each in servers if each.instance.pk not in keys)
    unseen = {twin_key(row.installed) for each in others for row in each.rows}
    again = can_come_again(now=now) if watched else set()
    return sum(_tidy(server, resting, unseen, again) for server in watched)


def _is_watched(server: Server, since: datetime, *, now: datetime) -> bool:
    node, told_at = server.view.node, server.instance.inventory_at
    if server.view.liveness != "live" or node.paused or node.watched_since is None:
        return False
    if told_at is None or now - told_at > UNWATCHED_AFTER:
        return False
    reading = server.view.reading_of(server.instance.name)
    is_told = reading is not None and reading.state == "ok" and reading.loaded is not None
    return is_told and node.watched_since <= since


def _tidy(
    server: Server, resting: set[tuple[int, str]], unseen: set[TwinKey], again: set[int]
) -> int:
    for proposal in server.proposals:
        pulled = [row.installed for row in proposal.rows if not is_own(row.installed.name)]
        if not pulled or not all(row.pk in again for row in pulled):
            continue
        keys = {(server.instance.pk, row.installed.name) for row in proposal.rows}
        twins = {twin_key(row.installed) for row in proposal.rows}
        if proposal.is_old and not keys & resting and not twins & unseen:
            try:
                return _delete_all(proposal, user=None)
            except LabDashError as error:
                log.warning("not deleted by the rule names=%s: %s", proposal.names, error)
                return 0
    return 0


def _delete_all(proposal: Proposal, *, user: User | None) -> int:
    """Order the deletion of each name; the last of them frees what they shared."""
    *others, last = proposal.rows
    shared = proposal.frees_bytes - sum(row.frees_bytes for row in others)
    for row, frees_bytes in (*((row, row.frees_bytes) for row in others), (last, shared)):
        naming.delete(installed=row.installed, frees_bytes=frees_bytes, user=user, why=proposal.why)
    log.info("deleting names=%s why=%s", proposal.names, proposal.why)
    return len(proposal.rows)


def _resting(now: datetime) -> set[tuple[int, str]]:
    undone = [NameState.FAILED, NameState.CANCELLED]
    rows = NameJob.objects.filter(state__in=undone, created_at__gt=now - REST).exclude(why="")
    return set(rows.values_list("instance_id", "model"))
