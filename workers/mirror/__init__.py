"""Models for other Ollama servers, in the registry's protocol: over plain HTTP, by a secret."""
