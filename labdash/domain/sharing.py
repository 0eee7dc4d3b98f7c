"""What machines say about giving models to others."""

from datetime import datetime

from labdash.domain import sourcing
from labdash.domain.reconciliation import carry_on
from labdash.models import Transfer
from workers import wire


def record_share(report: wire.ShareProgress, *, arrived_at: datetime) -> bool:
    """Take note that a model is given, or why it is not, and let its job go on from there."""
    rows = Transfer.objects.active().select_related("giver__node", "job__instance__node")
    current = rows.filter(secret=report.secret, job=report.job_id).first()
    giver = current.giver if current else None
    if current is None or giver is None or giver.node.slug != report.node:
        return False
    if report.phase == "refused":
        sourcing.end(current, now=arrived_at, failed=report.reason or f"{giver.node} refused.")
    else:
        changes = {"port": report.port, "hosts": list(report.hosts), "opened_at": arrived_at}
        unopened = Transfer.objects.active().filter(pk=current.pk, opened_at=None)
        if report.port is None or not unopened.update(**changes):
            return False
    carry_on(instance=current.job.instance)
    return True
