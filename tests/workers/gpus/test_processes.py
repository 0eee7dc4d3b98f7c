import pytest

from workers.gpus.processes import BlobNames, blob_of

DIGEST = "0123456789abcdef" * 4
PATH = f"/usr/share/ollama/.ollama/models/blobs/sha256-{DIGEST}"


@pytest.mark.parametrize(
    "command",
    [
        ["/usr/lib/ollama/llama-server", "--model", PATH, "-c", "8192", "-ngl", "99"],
        ["/usr/local/bin/ollama", "runner", "--ollama-engine", "--model", PATH, "--port", "41"],
        ["llama-server", "-m", PATH],
        ["llama-server", f"--model={PATH}"],
        ["ollama.exe", "runner", "--model", rf"C:\Users\me\.ollama\models\blobs\sha256-{DIGEST}"],
    ],
)
def test_the_blob_of_a_runner_is_found_in_its_command_line(command: list[str]) -> None:
    assert blob_of(command) == DIGEST


@pytest.mark.parametrize(
    "command",
    [[], ["ollama", "serve"], ["python", "--model", "gpt2"], ["x", "--model"], ["cp", PATH]],
)
def test_other_programs_serve_no_blob(command: list[str]) -> None:
    assert blob_of(command) is None


def test_of_several_names_for_a_blob_the_loaded_one_is_told() -> None:
    names = BlobNames()
    names.set_installed("ollama", {"base:latest": "d1", "chat:latest": "d1", "other": "d2"})

    before = names.name("d1")
    names.set_loaded("ollama", ["chat:latest"])

    assert (before, names.name("d1")) == ("base:latest", "chat:latest")
    assert names.name("d3") is None


def test_names_of_one_instance_replace_its_own_only() -> None:
    names = BlobNames()
    names.set_installed("ollama", {"a": "d1"})
    names.set_installed("ollama-2", {"b": "d2"})
    names.set_installed("ollama", {})

    assert (names.name("d1"), names.name("d2")) == (None, "b")


def test_names_of_the_runners_own_instance_come_first() -> None:
    names = BlobNames()
    names.set_installed("ollama", {"a": "d1"})
    names.set_installed("ollama-2", {"b": "d1"})

    assert names.name("d1", instance="ollama-2") == "b"
    assert names.name("d1", instance="ollama-3") == "a"


def test_server_is_known_by_its_process_and_alone_without() -> None:
    names = BlobNames()
    names.set_server("ollama", None)
    alone = names.instance_of(7)
    names.set_server("ollama-2", 8)

    assert (alone, names.instance_of(8), names.instance_of(7)) == ("ollama", "ollama-2", None)


def test_new_name_stands_for_the_weights_of_the_one_it_was_made_from() -> None:
    names = BlobNames()
    names.set_installed("ollama", {"base:latest": "d1"})
    names.add_name("ollama", "labdash/chat:latest", like="base:latest")
    names.add_name("ollama", "labdash/odd:latest", like="unknown:latest")
    names.set_loaded("ollama", ["labdash/chat:latest"])
    assert names.sharing("ollama", "base:latest") == {"base:latest", "labdash/chat:latest"}
    assert names.name("d1") == "labdash/chat:latest"


def test_base_that_was_loaded_by_its_own_name_is_not_called_by_its_alias() -> None:
    names = BlobNames()
    names.set_installed("ollama", {"a:1b": "d1", "labdash/a:latest": "d1"})
    names.set_loaded("ollama", ["a:1b"])
    assert names.name("d1", instance="ollama") == "a:1b"


def test_each_server_calls_its_runner_by_the_name_that_it_has_loaded() -> None:
    names = BlobNames()
    both = {"a:1b": "d1", "labdash/a:latest": "d1"}
    for server, loaded in (("ollama", "labdash/a:latest"), ("ollama-2", "a:1b")):
        names.set_installed(server, both)
        names.set_loaded(server, [loaded])
    assert names.name("d1", instance="ollama") == "labdash/a:latest"
    assert names.name("d1", instance="ollama-2") == "a:1b"
