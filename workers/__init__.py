"""The node side: watches one machine, talks to its Ollama, and reports to the hub."""
