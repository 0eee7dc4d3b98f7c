"""The catalog reads its data when it is asked, and no sooner."""

import subprocess
import sys
from importlib.resources import files

from labdash.catalog.files import read_json, read_lines

# Says which of the catalog's data were opened by the time the modules were imported.
PROBE = """
import sys
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
from labdash.catalog import engines, files, gpus, models, quality
print([path for path in opened if "catalog/data" in path])
models.find_model("qwen3:8b")
print(sorted({path.rpartition("/")[2] for path in opened if "catalog/data" in path}))
print([name for name in sys.modules if name.partition(".")[0] in ("django", "celery", "workers")])
"""


def test_an_import_opens_nothing_and_loads_neither_django_nor_celery() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)  # noqa: S603 - our own lines
    assert done.stdout.splitlines() == ["[]", "['models.jsonl']", "[]"]


def test_every_data_file_can_be_read() -> None:
    for path in (files("labdash.catalog") / "data").iterdir():
        rows = read_lines(path.name) if path.name.endswith(".jsonl") else read_json(path.name)
        assert rows, path.name
