"""A lab's file is read strictly, and what it leaves out is assumed and said."""

from datetime import time
from pathlib import Path

import pytest

from labdash.catalog.models import find_model
from labdash.env import ROOT
from labdash.planner.errors import PlannerError
from labdash.planner.lab import Card, Deployment, Instance, Lab, Node
from labdash.queries.lab_file import parse, read

GIB, MIB = 1 << 30, 1 << 20
LABS = sorted((ROOT / "tests" / "fixtures" / "labs").glob("*.toml"))
# As the design of the project gives it.
EXAMPLE = """
[[node]]
name = "rog"
tags = ["desk"]
kind = "linux"
ram_gib = 64
ram_used_gib = 9
disk_free_gib = 400
asleep = false
agentless = false
  [[node.gpu]]
  name = "NVIDIA GeForce RTX 3090"
  vram_gib = 24.0
  used_gib = 0.6
  reserve_gib = 0.0
  [[node.instance]]
  name = "rog:11434"
  url = "http://127.0.0.1:11434"
  ollama = "0.32.15"
  gpus = [0]
  env = { OLLAMA_KV_CACHE_TYPE = "q8_0", OLLAMA_NUM_PARALLEL = "1" }
  installed = ["qwen3:14b"]
  loaded = [{ model = "qwen3:14b", ctx = 8192, gpu_gib = [9.8] }]

[[deployment]]
name = "qwen3:32b"
model = "qwen3:32b"
quant = { floor = "Q4_K_M", wish = "Q6_K" }
ctx = { floor = 8192, wish = 32768 }
parallel = 1
kv_type = ["f16", "q8_0"]
priority = 1
prefer = "quality"
residency = "resident"
offload = "never"
replicas = 1
nodes = ["rog", "tower"]
pin = "rog/0"
keep_apart = ["whisper"]
min_tokens_per_s = 15
give_way = ["ctx", "quant", "offload"]
"""


def the_node(text: str) -> Node:
    """Read a lab of one node."""
    (node,) = parse(text).nodes
    return node


def the_card(text: str, *, kind: str = "linux") -> Card:
    """Read a lab of one node with one card, of which the keys are given."""
    (card,) = the_node(f'[[node]]\nname = "a"\nkind = "{kind}"\n[[node.gpu]]\n{text}').cards
    return card


def the_deployment(text: str) -> Deployment:
    """Read a lab without machines and with one deployment."""
    (found,) = parse(f"[[deployment]]\n{text}").deployments
    return found


def test_the_example_of_the_design_is_read() -> None:
    lab = parse(EXAMPLE)
    (node,), (wanted,) = lab.nodes, lab.deployments
    assert (node.name, node.tags, node.ram_room_bytes) == ("rog", ("desk",), 55 * GIB)
    (card,), (instance,) = node.cards, node.instances
    assert (card.total_bytes, card.used_bytes, card.doubt) == (24 * GIB, round(0.6 * GIB), "")
    assert (card.vendor, card.sm_count, card.bandwidth_gbs) == ("nvidia", 82, 936)
    assert (instance.version, instance.build, instance.gpus) == ("0.32.15", 10488, (0,))
    (running,) = instance.running
    assert (running.ctx, running.gpu_bytes, running.stays) == (8192, {0: round(9.8 * GIB)}, True)
    assert [each.quant for each in wanted.variants] == ["Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M"]
    assert (wanted.kv_types, wanted.pin) == (("f16", "q8_0"), "rog/0")
    assert sorted(wanted.nodes) == ["rog", "tower"]


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_real_labs_are_read(path: Path) -> None:
    lab = parse(path.read_text("utf-8"))
    assert all(each.variants for each in lab.deployments)
    assert all(card.bandwidth_gbs for node in lab.nodes for card in node.cards)


def test_an_empty_file_is_an_empty_lab() -> None:
    assert (parse("").nodes, parse("").deployments) == ((), ())


def test_what_is_left_out_is_usual() -> None:
    node = the_node('[[node]]\nname = "a"\n[[node.instance]]')
    instance = Instance(name="a:11434", version=None, build=10488, gpus=())
    assert node.instances == (replace_url(instance),)
    assert (node.ram_bytes, node.disk_free_bytes, node.away) == (None, None, "")
    found = the_deployment('model = "qwen3:8b"')
    assert (found.name, found.ctx_floor, found.ctx_wish) == ("qwen3:8b", 8192, 32768)
    assert (found.priority, found.prefer, found.replicas) == (3, "quality", 1)
    assert found.resident
    assert not found.offload_allowed


def replace_url(instance: Instance) -> Instance:
    """Give an instance the usual address."""
    return Instance(
        name=instance.name,
        version=instance.version,
        build=instance.build,
        gpus=instance.gpus,
        url="http://127.0.0.1:11434",
    )


def test_a_context_that_nobody_wrote_stays_within_the_trained_one() -> None:
    found = the_deployment('model = "mxbai-embed-large"')
    assert (found.ctx_floor, found.ctx_wish) == (512, 512)
    found = the_deployment('model = "qwen3:8b"\nctx = { wish = 4096 }')
    assert (found.ctx_floor, found.ctx_wish) == (4096, 4096)
    found = the_deployment('model = "qwen3:8b"\nctx = { floor = 16384 }')
    assert (found.ctx_floor, found.ctx_wish) == (16384, 16384)


def test_use_that_nobody_measured_is_assumed_and_said() -> None:
    card = the_card('name = "RTX 3090"\nvram_gib = 24')
    assert card.used_bytes == 452 * MIB
    assert "nobody said" in card.doubt
    told = the_card('name = "RTX 3090"\nvram_gib = 24\nused_gib = 0')
    assert (told.used_bytes, told.doubt) == (0, "")


def test_on_windows_a_desktop_takes_its_part() -> None:
    card = the_card('name = "RTX 4060"\nvram_gib = 8', kind="windows")
    assert card.room_bytes == pytest.approx(7 * GIB, rel=0.01)


def test_ram_that_nobody_measured_is_assumed_and_said() -> None:
    node = the_node('[[node]]\nname = "a"\nram_gib = 16\nkind = "windows"')
    assert (node.ram_used_bytes, "4.0 GiB are counted" in node.doubt) == (4 * GIB, True)
    small = the_node('[[node]]\nname = "a"\nram_gib = 3')
    assert small.ram_used_bytes == GIB


def test_a_size_that_is_sold_alone_need_not_be_said() -> None:
    assert the_card('name = "NVIDIA GeForce RTX 3090"').total_bytes == 24 * GIB
    with pytest.raises(PlannerError, match="say the vram_gib of Some Card"):
        the_card('name = "Some Card"')


def test_an_unknown_card_has_no_speed() -> None:
    card = the_card('name = "AMD Radeon X1"\nvram_gib = 4')
    assert (card.bandwidth_gbs, card.vendor, card.speed_class) == (None, "amd", "amd")
    given = the_card('name = "X1"\nvram_gib = 4\nbandwidth_gbs = 100\nsm_count = 8')
    assert (given.bandwidth_gbs, given.sm_count, given.vendor) == (100, 8, None)


def test_a_mac_has_one_pool() -> None:
    text = '[[node]]\nname = "m"\nkind = "mac"\nram_gib = 24\n{}[[node.gpu]]\nname = "Apple M4"\n'
    shared = the_node(text.format("gpu_share_gib = 17.6\n"))
    assert (shared.unified, shared.cards[0].total_bytes) == (True, round(17.6 * GIB))
    assert (shared.cards[0].used_bytes, shared.cards[0].doubt) == (0, "")
    assert the_node(text.format("") + "vram_gib = 16\n").unified


def test_a_sleeping_node_is_away() -> None:
    assert the_node('[[node]]\nname = "a"\nasleep = true').away == "it is asleep"


def test_settings_may_be_numbers() -> None:
    env = "env = { OLLAMA_NUM_PARALLEL = 2, OLLAMA_FLASH_ATTENTION = true }"
    (instance,) = the_node(f'[[node]]\nname = "a"\n[[node.instance]]\n{env}').instances
    assert instance.env == {"OLLAMA_NUM_PARALLEL": "2", "OLLAMA_FLASH_ATTENTION": "1"}


def test_installed_files_are_what_deployments_are_served_with() -> None:
    hub = "hf.co/bartowski/Qwen3-8B-GGUF:Q6_K"
    text = f'[[node]]\nname = "a"\n[[node.instance]]\ninstalled = ["{hub}"]\n'
    lab = parse(f'{text}[[deployment]]\nmodel = "qwen3:8b"\nquant = {{ floor = "Q6_K" }}')
    assert lab.deployments[0].variants[0].name == hub


def test_what_is_in_memory_is_on_the_disk_too() -> None:
    text = 'installed = ["qwen3:8b"]\nloaded = [{ model = "qwen3:14b" }, { model = "qwen3:8b" }]'
    (instance,) = the_node(f'[[node]]\nname = "a"\n[[node.instance]]\n{text}').instances
    assert instance.installed == ("qwen3:8b", "qwen3:14b")


def test_sizes_of_installed_files_are_those_that_were_published() -> None:
    text = 'installed = ["Qwen3:8b", "qwen3:8b-q8_0", "mine:8b"]'
    (instance,) = the_node(f'[[node]]\nname = "a"\n[[node.instance]]\n{text}').instances
    (file,) = (each for each in find_model("qwen3:8b").model.files if each.file == "qwen3:8b")
    assert instance.file_bytes["Qwen3:8b"] == file.bytes
    assert "mine:8b" not in instance.file_bytes


def test_a_model_without_a_known_shape_is_refused_by_the_plan() -> None:
    found = the_deployment('model = "moondream"')
    assert (found.variants, found.unknown) == ((), "model")
    assert "shape of moondream2 is not known" in found.unknown_text


NODE = '[[node]]\nname = "a"\n'
GPU = f'{NODE}[[node.gpu]]\nname = "RTX 3090"\n'
SERVER = f"{GPU}vram_gib = 24\n[[node.instance]]\n"
NIGHTLY = '[[schedule]]\nname = "x"\nat = "02:00"\nmodels = ["qwen3:8b"]\n'
PLAY = '[[schedule]]\nname = "x"\nat = "20:00"\nwhat = "gpus"\n'
WANTED = '[[deployment]]\nmodel = "qwen3:8b"\n'


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[[nod]]", "there is no key 'nod'; the nearest is node"),
        ("[node]", "node is {}, and no list: write [[node]]"),
        ("[[node]", "the file is no TOML: "),
        ("a = " + "[" * 5000, "the file is no TOML: "),
        ("[[node]]", "node 1: it has no name"),
        ("[[node]]\nname = 3", "node 1: name is 3, and no text"),
        ('[[node]]\nname = ""', "node 1: name is no text of 1 to 350 letters"),
        ('[[node]]\nname = "a/b"', "node 1 (a/b): a node's name holds no slash"),
        (f"{NODE}ram_gb = 3", "there is no key 'ram_gb'; the nearest is ram_gib"),
        (f'{NODE}ram_gib = "3"', "node 1 (a): ram_gib is '3', and no number"),
        (f"{NODE}ram_gib = true", "node 1 (a): ram_gib is true, and no number"),
        (f"{NODE}ram_gib = -1", "node 1 (a): ram_gib is -1: it is from 0 to"),
        (f"{NODE}ram_gib = nan", "node 1 (a): ram_gib is nan, and no number"),
        (f"{NODE}ram_gib = inf", "node 1 (a): ram_gib is inf, and no number"),
        (f"{NODE}ram_gib = 4\nram_used_gib = 5", "ram_used_gib is more than ram_gib"),
        (f"{NODE}gpu_share_gib = 5", "gpu_share_gib is for a node with one GPU"),
        (f'{NODE}gpu_share_gib = 0\n[[node.gpu]]\nname = "Apple M4"', "gpu_share_gib is 0"),
        (f'{NODE}kind = "linus"', "kind is 'linus', and not one of linux, windows, mac"),
        (f"{NODE}asleep = 1", "asleep is 1, and not true or false"),
        (f"{NODE}tags = [1]", "tags is 1, and no text"),
        (f"{NODE}{NODE}", "2 nodes are named a: give each a name of its own"),
        (f"{GPU}vram_gib = 0", "node 1 (a), gpu 1 (RTX 3090): vram_gib is 0"),
        (f"{GPU}vram_gib = 8\nused_gib = 9", "used_gib is more than vram_gib"),
        (f"{GPU}sm_count = 1.5", "sm_count is 1.5, and no whole number"),
        (f"{SERVER}gpus = [1]", "instance 1 (a:11434): gpus lists 1, but a has 1 GPUs"),
        (f"{SERVER}gpus = [0, 0]", "gpus lists a number twice"),
        (f'{SERVER}url = "ftp://a"', "url is 'ftp://a': write http://host:11434"),
        (f'{SERVER}url = "http://a:b"', "url is 'http://a:b', and no address"),
        (f'{SERVER}ollama = "new"', "node a, instance a:11434: no version of Ollama: 'new'"),
        (f"{SERVER}[[node.instance]]", "2 instances are named a:11434"),
        (f'{SERVER}loaded = [{{ model = "x", gpu_gib = [1, 2] }}]', "2 numbers for 1 GPUs"),
        (f"{SERVER}env = 3", "env is 3, and no table"),
        (f"{WANTED}contxt = 3", "there is no key 'contxt'; the nearest is ctx"),
        (f"{WANTED}ctx = 8192", "deployment 1 (qwen3:8b): ctx is no table"),
        (f"{WANTED}ctx = {{ flor = 1 }}", "ctx: there is no key 'flor'; the nearest is floor"),
        (f"{WANTED}ctx = {{ floor = 9, wish = 8 }}", "the floor of 9 is above the wish of 8"),
        (f"{WANTED}ctx = {{ floor = 0 }}", "ctx: floor is 0: it is from 1 to"),
        (f"{WANTED}priority = 0", "priority is 0: it is from 1 to 9"),
        (f'{WANTED}prefer = "size"', "prefer is 'size', and not one of quality, context, speed"),
        (f'{WANTED}give_way = ["ctx", "ctx"]', "give_way lists 'ctx': use ctx, quant, offload"),
        (f'{WANTED}kv_type = ["q9"]', "kv_type lists 'q9': use f32, f16"),
        (f'{WANTED}pin = "rog"', "pin is 'rog': write NODE/0 for a GPU, or NODE/cpu"),
        (f"{WANTED}min_tokens_per_s = -1", "min_tokens_per_s is -1: it is from 0 to"),
        (f"{WANTED}{WANTED}", "2 deployments are named qwen3:8b"),
        (f'{WANTED}quant = {{ floor = "Q9" }}', 'deployment 1 (qwen3:8b): "Q9" is no quant'),
        (f'{WANTED}quant = {{ floor = "Q8_0", wish = "Q2_K" }}', "Q8_0 is better than the wished"),
        ('[[deployment]]\nmodel = "nosuch"', "deployment 1 (nosuch): the catalog has no model"),
        (f"{NIGHTLY}untill = 3", "schedule 1: there is no key 'untill'; the nearest is until"),
        ('[[schedule]]\nat = "02:00"', "schedule 1: it has no name"),
        (f"{NIGHTLY}{NIGHTLY}", "2 schedules are named x"),
        (f'{NIGHTLY}cron = "0 2 * * *"', "it has both cron and at or days: write one of them"),
        (f'{NIGHTLY}days = ["today"]', "days lists 'today': use mon, tue"),
        (f'{NIGHTLY}until = "6"', "until is '6': write a time such as \"02:00\""),
        (f'{NIGHTLY}zone = "Berlin"', "schedule 1 (x): 'Berlin' is no time zone: write one as"),
        (f"{NIGHTLY}at_once = 0", "at_once is 0: it is from 1 to 100"),
        (f'{NIGHTLY}what = "plan"', "it has models, and its what is plan"),
        ('[[schedule]]\nname = "x"', 'it has no at and no cron: write at = "02:00"'),
        ('[[schedule]]\nname = "x"\ncron = "0 2"', "schedule 1 (x): Write five fields"),
        ('[[schedule]]\nname = "x"\nat = "2:00"', "it has no models, and no other what"),
        (PLAY, "say until when the GPUs are their owner's"),
        ('[[deployment]]\nmodel = "a\\nb"', "deployment 1: model is no text of 1 to 350 letters"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(text: str, line: str) -> None:
    with pytest.raises(PlannerError) as caught:
        parse(text)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_schedules_are_read_and_matter_to_no_plan() -> None:
    (found,) = read(f'{NIGHTLY}days = ["sun", "fri"]\nuntil = "06:00"').schedules
    assert (found.cron, found.until, found.zone) == ("0 2 * * 0,5", time(6), "")
    assert parse(NIGHTLY).nodes == ()


def test_reading_alone_asks_no_catalog() -> None:
    (wanted,) = read('[[deployment]]\nmodel = "nosuch"').deployments
    assert (wanted.name, wanted.quant_floor, wanted.ctx_floor) == ("nosuch", "", None)


def test_instances_are_found_by_name() -> None:
    lab: Lab = parse(EXAMPLE)
    assert lab.homes["rog:11434"][0].name == "rog"


def test_the_file_in_the_documentation_is_read() -> None:
    page = (ROOT / "deploy" / "docs" / "lab-file.md").read_text("utf-8")
    example = page.partition("```toml\n")[2].partition("```")[0]
    lab = parse(example)
    assert (lab.nodes[0].cards[0].margin_bytes, lab.deployments[0].name) == (GIB, "chat")
