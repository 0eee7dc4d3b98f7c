"""What may be wrong with disks: less is free than their owner wants kept."""

from collections.abc import Iterator
from dataclasses import replace

from labdash.queries.lab import LabView, NodeView
from labdash.queries.ollama_rules import DISK_LOW_BYTES
from labdash.queries.problem_view import ProblemView, about
from labdash.wording import size
from workers import wire


def find(view: NodeView, sample: wire.Sample, lab: LabView) -> Iterator[ProblemView]:
    """Yield the disks on which more was to stay free; one that is nearly full is told of anyway."""
    own = view.node.keep_free_bytes
    keep = lab.keep_free_bytes if own is None else own
    disks = {each.disk.path: each.disk for each in sample.instances if each.disk}
    for disk in disks.values():
        if DISK_LOW_BYTES <= disk.free_bytes < keep:
            text = (
                f"{size(disk.free_bytes)} are free for models on {view.node.slug}, and"
                f" {size(keep)} were to stay free ({disk.path})."
            )
            step = "On Pulls, under Storage: see what could go. Nothing more is pulled there."
            found = about(view, "keep_free", text, step, subject=disk.path)
            yield replace(found, page="pull_storage")
