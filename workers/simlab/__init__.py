"""A simulated lab: fake Ollama, fake registry and simulated GPUs behind the real protocols."""
