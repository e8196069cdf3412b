"""The formats of corpus files: one row a format, with its reader.

A new format is a reader, a row here and, if users' own files may have it, a name in
:data:`OwnFormat`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from harness.data.conll import MASAKHANER, UNER, XSID, read_columns
from harness.data.corpus import CorpusFile, LabelMap
from harness.data.jsonl import read_jsonl

#: The formats of users' own files, as `format` names them.
OwnFormat = Literal["conll", "jsonl"]
OWN_FORMATS: tuple[str, ...] = get_args(OwnFormat)


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A format of corpus files.

    ``read`` turns a file into sentences. With ``sentence_fields``, each sentence may have its own
    language and id; otherwise a file has one language, and ids count if all sentences have one.
    With ``english_text``, the English stands beside each sentence of a catalogue's corpus.
    """

    name: str
    read: Callable[[Path, LabelMap], CorpusFile]
    sentence_fields: bool = False
    english_text: bool = False


FILE_FORMATS = {
    file_format.name: file_format
    for file_format in (
        FileFormat("jsonl", read_jsonl, sentence_fields=True),
        FileFormat("conll", read_columns),
        FileFormat("masakhaner", partial(read_columns, columns=MASAKHANER)),
        FileFormat("uner", partial(read_columns, columns=UNER)),
        FileFormat("xsid", partial(read_columns, columns=XSID), english_text=True),
    )
}
