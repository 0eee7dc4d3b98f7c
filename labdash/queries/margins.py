"""What of a GPU stays free beside a model: as its owner wants it, else as the engine does it."""

from collections.abc import Mapping

from labdash.catalog.engines import build_of_ollama, newest_engine
from labdash.models import Instance as StoredInstance
from labdash.planner.errors import PlannerError
from labdash.planner.lab import Instance
from labdash.planner.placing.engine import FIT_TARGET_MIB, Rules, rules_of
from labdash.queries.lab import NodeView
from labdash.queries.snapshot_cards import row_of
from labdash.wording import MIB
from workers import wire

# Of a machine that is not in the lab, with the newest Ollama.
USUAL_MARGIN_BYTES = FIT_TARGET_MIB * MIB


def margin_of(view: NodeView, gpu: wire.GpuReading) -> int:
    """Tell what stays free of a GPU of the lab: by its owner, else by the node's first server."""
    row = row_of(gpu, view.node.gpus.all())
    if row and row.margin_bytes is not None:
        return row.margin_bytes
    rules = next((_rules(view, each) for each in view.node.instances.all()), None)
    return rules.plain_margin_bytes(gpu.index) if rules else USUAL_MARGIN_BYTES


def _rules(view: NodeView, row: StoredInstance) -> Rules:
    reading = view.reading_of(row.name)
    version = (reading.version if reading else None) or row.version or None
    env = env_of(row, reading)
    server = Instance(name=str(row), version=version, build=build_number(version), gpus=(), env=env)
    return rules_of(server)


def env_of(row: StoredInstance, reading: wire.InstanceReading | None) -> Mapping[str, str]:
    """Return the settings of a server's process, else those that its owner declared."""
    if reading is not None and reading.settings is not None:
        return {setting.name: setting.value for setting in reading.settings}
    return {str(name): str(value) for name, value in row.declared_settings.items()}


def build_number(version: str | None) -> int:
    """Tell the build of a server, of a version that nobody knows the newest."""
    try:
        return build_of_ollama(version).number if version else newest_engine().number
    except PlannerError:
        return newest_engine().number
