"""The made-up text of the models that ship: sentence patterns, clauses, names, noise."""
