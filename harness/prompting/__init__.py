"""From an example to the bytes of a prompt: schemas, templates, literals, answers as text."""
