"""The version of the harness. A signature, the store and the wheel read it here."""

__version__ = "0.1.0"
