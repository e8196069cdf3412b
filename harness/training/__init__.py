"""Training of models on this project's own prompts and answers, from synthetic text."""
