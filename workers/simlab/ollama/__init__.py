"""A fake Ollama server: its HTTP API, store, pulls and scheduler, on simulated hardware."""
