import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from labdash.planner import exports
from labdash.planner.lab import Deployment, Lab, Variant
from labdash.planner.plan import Choice
from labdash.planner.telling.quoting import comment, modelfile_value, shell
from tests.planning.choices import choice, placed, plan_of
from tests.planning.labs import GIB, card, gpu_node, variant, want

Q4 = variant("qwen3:14b", "Q4_K_M")
CHAT = want("chat", "qwen3:14b", ("Q4_K_M",), (4096, 8192))
NASTY = "x'; touch hacked; echo '$(touch hacked) `touch hacked`\ntouch hacked\nEND_OF_MODELFILE"


def lab(*, installed: tuple[str, ...] = (), url: str = "http://rog:11434") -> Lab:
    node = gpu_node("rog", 4, 4)
    only = replace(node.instances[0], installed=installed, url=url)
    return Lab(nodes=(replace(node, instances=(only,)),), deployments=(CHAT,))


def run(script: str, folder: Path) -> list[str]:
    """Run a script with programs that only tell their arguments."""
    for name in ("ollama", "llama-server", "curl"):
        program = folder / name
        program.write_text(f'#!/bin/sh\nprintf "[%s]" {name} "$@"\nprintf "\\n"\n')
        program.chmod(0o755)
    done = subprocess.run(  # noqa: S603 - a script that the test has made
        ["/bin/sh", "-c", script],
        cwd=folder,
        env={"PATH": f"{folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_modelfile_holds_the_options_that_are_set() -> None:
    pinned = choice(Q4, num_gpu=20, main_gpu=1)
    assert exports.modelfile(placed(CHAT, pinned)) == (
        "# chat on rog:11434, as planned by LabDash\n"
        "FROM qwen3:14b-q4_k_m\n"
        "PARAMETER num_ctx 8192\n"
        "PARAMETER num_batch 512\n"
        "PARAMETER num_gpu 20\n"
        "PARAMETER main_gpu 1\n"
    )


def test_options_that_stay_unset_are_left_out() -> None:
    assert exports.options(choice(Q4)) == {"num_ctx": 8192, "num_batch": 512}


def test_commands_pull_create_and_load(tmp_path: Path) -> None:
    script = exports.ollama_commands(lab(), placed(CHAT, choice(Q4)))
    assert script.startswith("export OLLAMA_HOST=http://rog:11434\n# chat: Q4_K_M at 8k, 10.0 GiB")
    assert run(script, tmp_path) == [
        "[ollama][pull][qwen3:14b-q4_k_m]",
        "[ollama][create][labdash/chat][-f][labdash-chat.Modelfile]",
        "[ollama][run][--keepalive=-1s][labdash/chat][]",
    ]
    file = tmp_path / "labdash-chat.Modelfile"
    assert file.read_text() == exports.modelfile(placed(CHAT, choice(Q4)))


def test_what_is_installed_is_not_pulled_and_what_waits_is_not_loaded(tmp_path: Path) -> None:
    lazy = replace(CHAT, residency="on-demand")
    script = exports.ollama_commands(lab(installed=(Q4.name,), url=""), placed(lazy, choice(Q4)))
    assert "OLLAMA_HOST" not in script
    assert run(script, tmp_path) == ["[ollama][create][labdash/chat][-f][labdash-chat.Modelfile]"]


def test_an_embedding_model_is_loaded_by_a_request(tmp_path: Path) -> None:
    embedding = replace(Q4, embedding=True)
    script = exports.ollama_commands(lab(installed=(Q4.name,)), placed(CHAT, choice(embedding)))
    assert run(script, tmp_path)[-1] == (
        "[curl][--fail][--silent][http://rog:11434/api/embed]"
        '[-d][{"model": "labdash/chat", "input": [], "keep_alive": -1}]'
    )


def test_a_plan_is_one_script_in_the_order_of_loading(tmp_path: Path) -> None:
    tower = replace(gpu_node("tower", 5), name="tower")
    both = replace(lab(installed=(Q4.name,)), nodes=(*lab().nodes, tower))
    late, early = replace(CHAT, name="late"), replace(CHAT, name="early")
    plan = plan_of(
        placed(late, choice(Q4), order=2),
        placed(early, choice(Q4), order=1),
        placed(CHAT, choice(Q4, "tower/0")),
    )
    lines = run(exports.plan_commands(both, plan), tmp_path)
    ran = [line for line in lines if line.startswith("[ollama][run]")]
    assert [line.split("[")[4] for line in ran] == [
        "labdash/early]",
        "labdash/late]",
        "labdash/chat]",
    ]


def server(here: Lab, chosen: Choice, wanted: Deployment = CHAT) -> str:
    return exports.llama_server(here, placed(wanted, chosen)).splitlines()[-1]


def test_llama_server_gets_the_whole_model_on_one_card() -> None:
    line = server(lab(), choice(Q4, "rog/1", main_gpu=1, kv_type="q8_0", parallel=2))
    assert line == (
        "CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=0,1 llama-server"
        " -m \"$(ollama show --modelfile qwen3:14b-q4_k_m | sed -n 's/^FROM //p' | sed -n 1p)\""
        " -ngl 41 --split-mode none --main-gpu 1 -c 16384 -np 2 -fa on -ctk q8_0 -ctv q8_0"
        " -b 512 -ub 512 --alias labdash/chat --port 8080"
    )


def test_llama_server_gets_the_layers_of_each_card() -> None:
    split = choice(Q4, form="gpus", layers={"rog/1": 11, "rog/0": 30}, flash_attn=False)
    line = server(lab(), split)
    assert "-ngl 41 --split-mode layer --tensor-split 30,11 " in line
    assert "-fa off" in line


def test_llama_server_gets_layers_on_the_cpu() -> None:
    part = choice(Q4, form="partial", num_gpu=20, main_gpu=0, layers={"rog/0": 20, "rog/cpu": 21})
    assert "-ngl 20 --split-mode none --main-gpu 0 " in server(lab(), part)
    none = choice(Q4, form="cpu", num_gpu=0, bytes={}, layers={"rog/cpu": 41})
    assert "-ngl 0 --device none " in server(lab(), none)


def test_llama_server_chooses_layers_itself_where_ollama_lets_it() -> None:
    left = choice(Q4, form="partial", layers={"rog/0": 20, "rog/cpu": 21})
    line = server(lab(), left)
    assert "-ngl" not in line
    assert "--split-mode none --main-gpu 0 -c 8192" in line
    over_both = replace(left, bytes={"rog/0": GIB, "rog/1": GIB})
    assert "--split-mode" not in server(lab(), over_both)


@pytest.mark.parametrize(
    ("vendors", "assignment"),
    [
        (("amd", "amd"), "ROCR_VISIBLE_DEVICES=0,1 llama-server"),
        (("intel", "intel"), "GGML_VK_VISIBLE_DEVICES=0,1 llama-server"),
        (("nvidia", "amd"), "GGML_VK_VISIBLE_DEVICES=0,1 llama-server"),
    ],
)
def test_cards_of_other_makers_are_numbered_their_way(
    vendors: tuple[str, str], assignment: str
) -> None:
    node = lab().nodes[0]
    cards = tuple(card(index, 4, vendor=vendor) for index, vendor in enumerate(vendors))
    here = replace(lab(), nodes=(replace(node, cards=cards),))
    assert server(here, choice(Q4)).startswith(assignment)


def test_one_card_needs_no_numbering() -> None:
    here = Lab(nodes=(gpu_node("rog", 4),), deployments=(CHAT,))
    assert server(here, choice(Q4)).startswith("llama-server ")
    assert "--main-gpu" not in server(here, choice(Q4))


def test_a_projector_and_an_embedding_model_get_their_options() -> None:
    sees = replace(Q4, vision=True, projector_bytes=GIB)
    whole = server(lab(), choice(sees))
    assert "--mmproj" in whole
    assert "sed -n 2p" in whole
    assert "--no-mmproj-offload" not in whole
    assert "# Leave --mmproj out" in exports.llama_server(lab(), placed(CHAT, choice(sees)))
    part = choice(sees, form="partial", num_gpu=20, layers={"rog/0": 20, "rog/cpu": 21})
    assert "--no-mmproj-offload" in server(lab(), part)
    assert "--embeddings" in server(lab(), choice(replace(Q4, embedding=True)))


def nasty() -> Variant:
    return replace(Q4, name=NASTY, names=frozenset())


@pytest.mark.parametrize("same_name", [False, True])
def test_a_name_is_never_read_as_a_command(tmp_path: Path, same_name: bool) -> None:
    wanted = replace(CHAT, name=NASTY, same_name=same_name)
    here = placed(wanted, choice(nasty()))
    for script in (
        exports.plan_commands(lab(url=NASTY), plan_of(here)),
        exports.llama_server(lab(url=NASTY), here),
    ):
        lines = run(script, tmp_path)
        assert not (tmp_path / "hacked").exists()
        assert all(line.startswith(("[ollama]", "[llama-server]")) for line in lines)
    assert [line.split()[0] for line in exports.modelfile(here).splitlines()] == [
        "#", "FROM", "PARAMETER", "PARAMETER",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["plain", "two words", "it's", '$HOME `x` \\ "', "", "a\tb"])
def test_a_shell_reads_an_argument_as_it_was(tmp_path: Path, text: str) -> None:
    assert run(f"ollama {shell(text)}", tmp_path) == [f"[ollama][{text.replace(chr(9), ' ')}]"]


def test_a_modelfile_has_no_escapes() -> None:
    assert modelfile_value("hf.co/a/b:Q4_K_M") == "hf.co/a/b:Q4_K_M"
    assert modelfile_value('"odd') == '""""odd"""'
    assert comment("two\nlines") == "# two lines"
