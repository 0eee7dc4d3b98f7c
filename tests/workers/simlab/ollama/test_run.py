"""What a simulated model says: a model that can think does so first, as Ollama has it."""

from typing import Any

from tests.simlab import OllamaLab, ollama_lab
from tests.workers.simlab.ollama.api import lines, post
from workers.simlab.publish import install

THINKING, PLAIN = "qwen3:0.6b", "llama3.2:1b"
SHORT = {"num_predict": 9, "num_ctx": 4096}


def chat(lab: OllamaLab, model: str, **more: Any) -> list[dict[str, Any]]:
    body = {"messages": [{"role": "user", "content": "Why?"}], "options": SHORT}
    return lines(post(lab, "/api/chat", model=model, **body, **more))


def test_a_model_that_can_think_does_so_before_it_answers() -> None:
    with ollama_lab() as lab:
        install(lab.registry, lab.server, THINKING)
        install(lab.registry, lab.server, PLAIN)
        messages = [line["message"] for line in chat(lab, THINKING)]
        assert ["thinking" in message for message in messages] == [True] * 3 + [False] * 7
        assert {message["content"] for message in messages[:3]} == {""}
        for model, more in ((THINKING, {"think": False}), (PLAIN, {})):
            assert not any("thinking" in line["message"] for line in chat(lab, model, **more))
        whole = post(
            lab, "/api/generate", model=THINKING, prompt="Why?", options=SHORT, stream=False
        )
        assert whole.json()["response"].startswith("answers with words")
