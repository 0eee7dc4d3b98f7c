"""Chapters on memory, quality and names: what is asked in the address, and what is refused."""

import re

import pytest
from django.test import Client

from tests.labdash.views.polling import text_of
from tests.labdash.views.test_overview import bare

pytestmark = pytest.mark.django_db
PART = {"HX-Request": "true", "HX-Target": "answer"}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/guide/memory/?size=70B&context=32768", "280.0 GB"),
        ("/guide/memory/?model=qwen3:8b", "qwen3:8b: "),
        ("/guide/quality/?quant=Q3_K_M", "Q3_K_M has"),
        ("/guide/names/?name=qwen3:8b-q4_K_M", "the quant: how the weights are stored"),
        ("/guide/names/?name=Zap-Q4_K_M.gguf", "Which model this is LabDash does not know."),
    ],
)
def test_what_is_chosen_stands_in_the_address(page: Client, address: str, said: str) -> None:
    whole = page.get(address)
    assert whole.status_code == 200
    assert said in bare(text_of(whole)).text
    part = text_of(page.get(address, headers=PART))
    assert said in bare(part).text
    assert "<form" not in part


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("/guide/memory/?size=seven", "Write a number of parameters such as 7B"),
        ("/guide/memory/?context=ten", "Write the context in tokens"),
        ("/guide/memory/?model=nosuch:1b", "The catalog has no model"),
        ("/guide/quality/?quant=Q9", "is no quant that llama-quantize makes"),
        ("/guide/names/?model=nosuch:1b", "The catalog has no model"),
    ],
)
def test_bad_input_gets_one_line(page: Client, address: str, line: str) -> None:
    response = page.get(address)
    assert response.status_code == 422
    assert line in text_of(response).replace("&quot;", '"')


# A row of a table's body, and what it may end in: a pull, a plan, or a command to copy.
ROW = re.compile(r"<tr[^>]*>(.*?)</tr>", re.DOTALL)
ACT = re.compile(
    r'<td class="acts">.*(?:/pulls/new/\?model=|/planner/new/\?model=|data-copy=)', re.DOTALL
)
COPY = re.compile(r'data-copy="([^"]+)"')


@pytest.mark.parametrize(
    "address",
    [
        "/guide/memory/", "/guide/memory/?model=gpt-oss:20b", "/guide/quality/",
        "/guide/quality/?model=llama3.2:1b&quant=Q2_K", "/guide/names/",
        "/guide/names/?name=gpt-oss:20b",
    ],
)  # fmt: skip
def test_every_row_of_a_table_ends_in_something_to_do(page: Client, address: str) -> None:
    text = text_of(page.get(address))
    bodies = re.findall(r"<tbody>(.*?)</tbody>", text, re.DOTALL)
    rows = [row for body in bodies for row in ROW.findall(body)]
    assert len(rows) >= 20
    assert [row for row in rows if not ACT.search(row)] == []
    for target in COPY.findall(text):
        (command,) = re.findall(rf'id="{re.escape(target)}"[^>]*>([^<]+)<', text)
        assert command.startswith(
            ("llama-quantize ", "python convert_hf_to_gguf.py ", "ollama pull ")
        )


@pytest.mark.parametrize(
    "name",
    [
        "gpt-oss:20b",
        "gemma3:12b-it-qat",
        "llama3.2",
        "qwen3:8b-q8_k",
        "gemma3n:e4b",
        "Qwen/Qwen3-8B",
    ],
)
def test_known_name_without_a_quant_ends_in_buttons(page: Client, name: str) -> None:
    text = text_of(page.get("/guide/names/", {"name": name}, headers=PART))
    decoded = text[: text.index('id="ladder"')]
    assert "/pulls/new/?model=" in decoded
    assert ("/planner/new/?model=" in decoded) == (name != "gemma3n:e4b")


@pytest.mark.parametrize("text", ["hello world", "<script>alert(1)</script>", "x" * 3000])
def test_garbage_gets_one_line_and_no_ladder(page: Client, text: str) -> None:
    response = page.get("/guide/names/", {"name": text})
    assert response.status_code == 422
    shown = text_of(response)
    assert "aste a name" in shown or "paste the name alone" in shown
    assert "<script>alert" not in shown
    assert 'id="ladder"' not in shown


@pytest.mark.parametrize(
    "text", ["\x00", "\u202e8B", "1e400", '" onload="x', "..", "a:b:c:d", "7B;" * 90]
)
@pytest.mark.parametrize(
    "field",
    ["memory/?size", "memory/?model", "memory/?context", "quality/?model", "quality/?quant",
     "names/?name", "names/?model"],
)  # fmt: skip
def test_whatever_is_asked_is_answered_in_words(page: Client, field: str, text: str) -> None:
    path, _, name = field.partition("?")
    response = page.get(f"/guide/{path}", {name: text})
    assert response.status_code in {200, 422}
    assert (response.status_code == 422) == ('role="alert"' in text_of(response))
    assert '" onload="x' not in text_of(response)


def test_dots_of_the_drawing_lead_to_their_rows(page: Client) -> None:
    text = text_of(page.get("/guide/quality/"))
    targets = re.findall(r'<a href="#(type-\w+)"', text)
    assert len(targets) >= 20
    assert all(text.count(f'id="{target}"') == 1 for target in targets)
    assert 'aria-labelledby="chart-title chart-desc"' in text
    assert "divergence of 0.0014 the loss rises to 2.2546 for IQ1_S" in text


def test_quality_begins_with_what_to_take(page: Client) -> None:
    text = bare(text_of(page.get("/guide/quality/"))).text
    head = text[text.index("In four numbers", text.index("Measured losses")) :][:900]
    for said in ("8 bits are near lossless", "6.23 words 16.1 GB", "+0.02 %, 8.5 GB as Q8_0",
        "+2.4 %, 4.9 GB as Q4_K_M", "+38.0 %, 2.9 GB as IQ2_M",
    ):  # fmt: skip
        assert said in head


@pytest.mark.parametrize("name", ["memory", "quality", "names"])
def test_forms_work_without_scripts(page: Client, name: str) -> None:
    (form,) = re.findall(
        rf'<form[^>]*action="/guide/{name}/[^>]*>', text_of(page.get(f"/guide/{name}/"))
    )
    assert 'method="get"' in form


def test_search_finds_a_section_by_its_words(page: Client) -> None:
    text = text_of(page.get("/guide/?q=imatrix"))
    assert 'href="/guide/names/#letters"' in text
