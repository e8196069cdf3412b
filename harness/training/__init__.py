"""Making models: answers as training text, recipes, trainers, the text of the tiny models."""
