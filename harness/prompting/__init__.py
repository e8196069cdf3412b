"""From an example to the exact bytes a model is given, and from its reply to annotations."""
