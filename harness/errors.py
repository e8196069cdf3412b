"""The exceptions of the harness, as one tree::

    HarnessError                  base of all errors raised on purpose; exit code 2
    ├── UsageError                the command or a setting is wrong
    │   ├── ExperimentError       the experiment file
    │   ├── UnknownNameError      a name that is not among the choices
    │   └── CredentialsError      an API key that is needed and missing
    ├── DataError                 a corpus or a user's own file
    │   ├── CorpusFormatError     a line that the format does not allow (file and line)
    │   ├── ChecksumError         a file that is not the pinned one
    │   ├── DownloadError         a file that could not be downloaded
    │   └── TranslationError      a translation that is missing or of another text
    ├── PromptError               the parts of a prompt
    │   ├── SchemaError           a schema file without guideline dataclasses
    │   └── TemplateError         a template, with its line
    ├── CheckpointError           a local model that cannot be found, read, converted or loaded
    ├── StoreError                the answer store
    │   └── OfflineError          an answer that is not stored, in a run without network
    ├── RunFolderError            a results folder that cannot be read or written
    └── EndpointError             a server that refuses every call of a system

Every message says what is wrong, names the next action, and lists the choices where there
are any.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HarnessError(Exception):
    """Base of every error the harness raises on purpose; its text is meant for users."""

    exit_code = 2


class UsageError(HarnessError):
    """The command line or a setting is wrong."""


class ExperimentError(UsageError):
    """The experiment file is wrong."""


class UnknownNameError(UsageError):
    """A name is not among the choices."""


class CredentialsError(UsageError):
    """An API key is needed and missing."""


class DataError(HarnessError):
    """A corpus, or a user's own file, cannot be used."""


class CorpusFormatError(DataError):
    """A line that the format does not allow; the message starts with ``file:line``."""


class ChecksumError(DataError):
    """A file is not the pinned one."""


class DownloadError(DataError):
    """A file could not be downloaded."""


class TranslationError(DataError):
    """A translation is missing, or belongs to another text."""


class PromptError(HarnessError):
    """A prompt cannot be built."""


class SchemaError(PromptError):
    """A schema file does not hold guideline dataclasses."""


class TemplateError(PromptError):
    """A template cannot be rendered; the message names file and line."""


class CheckpointError(HarnessError):
    """A local model cannot be used: its folder, files, tokenizer, conversion or size."""


class StoreError(HarnessError):
    """The answer store cannot be used."""


class OfflineError(StoreError):
    """An answer is not stored, and the run is offline."""


class RunFolderError(HarnessError):
    """A results folder cannot be read or written."""


class EndpointError(HarnessError):
    """A server refuses every call of a system."""


def unknown_name_message(kind: str, name: str, choices: Iterable[str]) -> str:
    """The message for a name that is not among the choices: the nearest choice, then all.

    >>> unknown_name_message("language", "swh", ["swa", "yor"])
    "Unknown language 'swh'. Did you mean 'swa'? Choices: swa, yor."
    """
    names = list(choices)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    listing = ", ".join(names) if names else "none"
    return f"Unknown {kind} '{name}'.{hint} Choices: {listing}."
