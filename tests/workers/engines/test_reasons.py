"""Texts as a real Ollama gave them, and what a person is told."""

import pytest

from workers.engines.reasons import Circumstances, explain, short_of_disk
from workers.engines.stream import End

ABOUT = Circumstances(
    model="qwen3:8b", url="http://rog:11434", version="0.24.0", store="/srv/models"
)
MANIFEST = "pull model manifest: "
BLOB = "sha256-f7604f4f63c55c5601741f161fb4666ecc7ba52b08b120f6a9751485dd483791"


@pytest.mark.parametrize(
    ("said", "told", "retry"),
    [
        (
            f"write /usr/share/ollama/.ollama/models/blobs/{BLOB}-partial: no space left on device",
            "The disk under /srv/models is full. Free some space there; what has come is kept.",
            False,
        ),
        (
            MANIFEST + "file does not exist",
            "The registry has no model qwen3:8b. Check its name and its tag.",
            False,
        ),
        (
            "file does not exist",
            "The registry lists qwen3:8b but lacks one of its files. Try again later.",
            True,
        ),
        (
            MANIFEST + "412: \n\nThe model you are attempting to pull requires a newer version of"
            " Ollama.\n\nPlease download the latest version at:\n\n\thttps://ollama.com/download\n",
            "qwen3:8b needs a newer Ollama than 0.24.0 on http://rog:11434. Update Ollama there.",
            False,
        ),
        (
            MANIFEST + "unauthorized: access denied",
            "The registry does not give qwen3:8b to everybody: it is private or does not exist.",
            False,
        ),
        (
            MANIFEST + "500: internal error",
            "The registry has an error of its own (500: internal error). Try again later.",
            True,
        ),
        ("500: ", "The registry has an error of its own (500). Try again later.", True),
        (
            MANIFEST + '400: {"error":"Sharded GGUF"}',
            'The registry refuses qwen3:8b: 400: {"error":"Sharded GGUF"}',
            False,
        ),
        (
            MANIFEST + "invalid character '<' looking for beginning of value",
            (
                "What answers is no registry, but perhaps the sign-in page of a network:"
                " invalid character '<' looking for beginning of value"
            ),
            True,
        ),
        (
            MANIFEST + 'Get "https://registry.ollama.ai/v2/library/qwen3/manifests/8b": dial tcp:'
            " lookup registry.ollama.ai on 192.0.2.53:53: no such host",
            (
                "The machine of http://rog:11434 cannot find the registry. Is it connected? Get"
                ' "https://registry.ollama.ai/v2/library/qwen3/manifests/8b": dial tcp: lookup'
                " registry.ollama.ai on 192.0.2.53:53: no such host"
            ),
            True,
        ),
        (
            MANIFEST + 'Get "https://registry/v2": dial tcp registry:443: connection refused',
            (
                "The machine of http://rog:11434 cannot reach the registry:"
                ' Get "https://registry/v2": dial tcp registry:443: connection refused'
            ),
            True,
        ),
        (
            (
                'max retries exceeded: Get "https://registry/v2": dial tcp registry:443: connect:'
                " connection refused"
            ),
            (
                "The machine of http://rog:11434 cannot reach the registry: max retries exceeded:"
                ' Get "https://registry/v2": dial tcp registry:443: connect: connection refused'
            ),
            True,
        ),
        (
            MANIFEST + 'Get "https://registry/v2": tls: first record does not look like a TLS'
            " handshake",
            (
                'No secure connection to the registry: Get "https://registry/v2": tls: first record'
                " does not look like a TLS handshake. Check the machine's clock and proxy."
            ),
            True,
        ),
        (
            "digest mismatch, file must be downloaded again: want sha256:f7, got sha256:51",
            "A file of qwen3:8b arrived damaged, and Ollama has thrown it away. Try again.",
            True,
        ),
        (
            "EOF",
            (
                "An earlier download of qwen3:8b broke off when Ollama was stopped, and cannot"
                " go on. Delete the files with -partial in their names from /srv/models/blobs,"
                " then try again."
            ),
            False,
        ),
        (
            "context deadline exceeded",
            "The registry did not send a file of qwen3:8b in time. Try again later.",
            True,
        ),
        (
            "max retries exceeded: EOF",
            "The registry broke off the download again and again: max retries exceeded: EOF",
            True,
        ),
        (
            "unexpected status code 302",
            "The registry answers in a way that Ollama cannot follow: unexpected status code 302",
            False,
        ),
        (
            "http: no Location header in response",
            (
                "The registry answers in a way that Ollama cannot follow:"
                " http: no Location header in response"
            ),
            False,
        ),
        ("context canceled", "Ollama broke off the download of qwen3:8b. Try again.", True),
        ("invalid model name", "Ollama takes qwen3:8b for no model name.", False),
        (
            "open /srv/models/blobs/x-partial: permission denied",
            (
                "Ollama may not write to /srv/models:"
                " open /srv/models/blobs/x-partial: permission denied"
            ),
            False,
        ),
        (
            "ollama cloud is disabled: remote model is unavailable",
            "qwen3:8b runs in Ollama's cloud only, and that is switched off on http://rog:11434.",
            False,
        ),
        (
            "something never seen before",
            "Ollama on http://rog:11434 failed: something never seen before",
            True,
        ),
        ("", "Ollama on http://rog:11434 failed and gave no reason.", True),
    ],
)
def test_what_ollama_says_becomes_a_plain_sentence(said: str, told: str, retry: bool) -> None:
    reason = explain(End(kind="error", text=said), ABOUT)

    assert (reason.text, reason.retry) == (told, retry)


@pytest.mark.parametrize(
    ("status", "text", "told"),
    [
        (403, "", "refuses requests under this host name (403). Use its IP address."),
        (404, "404 page not found", "is no Ollama server (404)."),
        (400, "", "failed (status 400) and gave no reason."),
        (502, "Bad Gateway", "failed (status 502): Bad Gateway"),
    ],
)
def test_a_status_speaks_where_the_text_does_not(status: int, text: str, told: str) -> None:
    assert explain(End(kind="error", text=text, status=status), ABOUT).text.endswith(told)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (End(kind="refused"), "Ollama does not answer on http://rog:11434. Is it running?"),
        (End(kind="cut"), "Ollama on http://rog:11434 went away in the middle of the pull."),
        (
            End(kind="closed"),
            "Ollama on http://rog:11434 ended the pull without saying that it succeeded.",
        ),
    ],
)
def test_a_connection_that_ends_is_explained_and_worth_another_try(end: End, told: str) -> None:
    reason = explain(end, ABOUT)

    assert (reason.text, reason.retry) == (told, True)


def test_what_is_not_known_is_named_in_general() -> None:
    about = Circumstances(model="x", url="http://rog:11434")

    full = explain(End(kind="error", text="no space left on device"), about)
    old = explain(End(kind="error", text="requires a newer version of Ollama"), about)

    assert "The disk under Ollama's model folder is full." in full.text
    assert "a newer Ollama than the one on http://rog:11434" in old.text


def test_a_long_text_is_cut() -> None:
    reason = explain(End(kind="error", text="word " * 200), ABOUT)

    assert len(reason.text) < 260
    assert reason.text.endswith("…")


def test_no_secret_of_a_copy_is_told() -> None:
    url = f"http://10.0.0.5:11480/v2/{'5' * 32}/qwen3/manifests/8b"
    text = f'pull model manifest: Get "{url}": dial tcp 10.0.0.5:11480: connection refused'
    told = explain(End(kind="error", text=text), ABOUT).text
    assert "10.0.0.5:11480/v2/…/qwen3" in told
    assert "5" * 32 not in told


def test_braces_in_a_text_are_left_alone() -> None:
    assert "{model}" in explain(End(kind="error", text="odd {model} {0}"), ABOUT).text


def test_lack_of_disk_names_how_much_and_where() -> None:
    gib = 2**30
    reason = short_of_disk(
        missing_bytes=int(5.1 * gib), free_bytes=2 * gib, keep_bytes=0, path="/srv/models"
    )

    assert reason.text == (
        "It needs 3.1 GiB more on /srv/models: 5.1 GiB are still to come, and 2.0 GiB are free."
    )
    assert reason.retry is False


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("write x-partial: no space left on device", "no-space"),
        (MANIFEST + "file does not exist", "no-such-model"),
        (MANIFEST + "412: newer", "needs-newer-ollama"),
        (MANIFEST + "dial tcp registry:443: connection refused", "unreachable"),
        (f"digest mismatch, file must be downloaded again: want {BLOB}, got x", "damaged"),
        ("context deadline exceeded", "stalled"),
        (MANIFEST + "500: internal error", "registry-fault"),
        ("something new", "other"),
    ],
)
def test_rules_need_not_read_the_sentence(said: str, cause: str) -> None:
    assert explain(End(kind="error", text=said), ABOUT).cause == cause
