"""How well does a prompt, on a model, extract information from text in a language."""
