"""The English that a corpus carries beside its sentences, and the gold of that English.

* An English corpus is its own English.
* xSID writes ``text-en`` beside every sentence; it is used unchanged. Its gold comes from the
  English file, if the sentence at the same index differs from ``text-en`` in white space only.
* UNER's five PUD treebanks translate the same 1000 sentences. The English is the sentence of
  ``en_pud`` with the same id: its text (tokens joined by single spaces) and its gold. ``zh_pud``
  has other ids in another order; the table ``zh_pud.tsv`` beside this file gives the pairs.
* MasakhaNER 2.0 has reference translations for some languages, as files in the folder of local
  corpora. Their columns are ``sentence_index`` (the position in the corpus file), ``reference``
  and one that is not read. Only files named ``eng_Latn`` are read: others are French.
* A user's own data has it beside the sentence (``english``, ``english_entities``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness.data import download
from harness.data.corpus import Mention, Sentence, raise_format_error, read_text
from harness.data.dataset import Dataset
from harness.data.formats import FILE_FORMATS
from harness.errors import DownloadError

_ENGLISH_CODE = "eng_Latn"
_HEADER = ["sentence_index", "reference"]


class ReferenceEnglish(NamedTuple):
    """The English of one sentence and the gold of that English; ``None`` where there is none."""

    text: str | None = None
    mentions: list[Mention] | None = None


def reference_english(
    dataset: Dataset,
    language: str,
    split: str,
    sentences: Sequence[Sentence],
    data_dir: Path | str | None,
) -> list[ReferenceEnglish]:
    """The English of every sentence, in the order of ``sentences``.

    Raises:
        DataError: a file that holds the English is missing, could not be downloaded, or has a line
            that its format does not allow.
    """
    if dataset.nllb_code(language) == _ENGLISH_CODE:
        return [ReferenceEnglish(s.text, s.mentions) for s in sentences]
    row = dataset.table.get(language)
    if row is not None and row.english is not None:
        if FILE_FORMATS[dataset.format].english_text:
            return _from_text_en(dataset, row.english, split, sentences, data_dir)
        return _from_same_id(dataset, language, row.english, split, sentences, data_dir)
    if dataset.references is not None:
        folder = download.local_folder(data_dir)
        name = dataset.references.replace("{language}", language).replace("{split}", split)
        if folder is None or not (folder / name).is_file():
            return [ReferenceEnglish()] * len(sentences)
        return _from_reference_file(folder / name, len(sentences))
    return [ReferenceEnglish(s.english, s.english_mentions) for s in sentences]


def _from_text_en(
    dataset: Dataset,
    english: str,
    split: str,
    sentences: Sequence[Sentence],
    data_dir: Path | str | None,
) -> list[ReferenceEnglish]:
    """The ``text-en`` of every sentence, with gold where the English file is within reach."""
    originals: Sequence[Sentence] = ()
    pinned = dataset.table[english].files[split]
    if data_dir is None or download.existing_copy(
        pinned, dataset.relative_path(english, split), data_dir
    ):
        # The English text is in this very file; without the English file only its gold is missing.
        with contextlib.suppress(DownloadError):
            originals = dataset.read(english, split, data_dir=data_dir).sentences
    references: list[ReferenceEnglish] = []
    for i, sentence in enumerate(sentences):
        text = sentence.english
        gold = (
            _transfer_mentions(originals[i], text)
            if text is not None and i < len(originals)
            else None
        )
        references.append(ReferenceEnglish(text, gold))
    return references


def _transfer_mentions(sentence: Sentence, text: str) -> list[Mention] | None:
    """The mentions of a sentence in another spelling of it; ``None`` where they cannot be placed.

    The two spellings may differ in white space only.
    """
    old = [i for i, c in enumerate(sentence.text) if not c.isspace()]
    new = [i for i, c in enumerate(text) if not c.isspace()]
    if [sentence.text[i] for i in old] != [text[i] for i in new]:
        return None
    position = dict(zip(old, new, strict=True))
    mentions = []
    for label, _, offsets in sentence.mentions:
        if offsets is None or offsets[0] not in position or offsets[1] - 1 not in position:
            return None
        start, end = position[offsets[0]], position[offsets[1] - 1] + 1
        mentions.append(Mention(label, text[start:end], (start, end)))
    return mentions


def _from_same_id(
    dataset: Dataset,
    language: str,
    english: str,
    split: str,
    sentences: Sequence[Sentence],
    data_dir: Path | str | None,
) -> list[ReferenceEnglish]:
    """The sentence of the English treebank with the same id, or with the id paired in a table."""
    originals = {s.id: s for s in dataset.read(english, split, data_dir=data_dir).sentences}
    table = Path(__file__).with_name(f"{language}.tsv")
    pairs: dict[str, str] | None = None
    if table.is_file():
        rows = table.read_text("utf-8").splitlines()[1:]
        pairs = {own: other for own, _, other in (row.partition("\t") for row in rows)}
    references: list[ReferenceEnglish] = []
    for sentence in sentences:
        key = sentence.id if pairs is None else pairs.get(sentence.id or "")
        original = originals.get(key) if key is not None else None
        references.append(
            ReferenceEnglish(original.text, original.mentions) if original else ReferenceEnglish()
        )
    return references


def _from_reference_file(path: Path, size: int) -> list[ReferenceEnglish]:
    """The reference translations of a file, placed by sentence index; they have no gold."""
    lines = read_text(path).rstrip("\n").split("\n")
    if lines[0].split("\t")[:2] != _HEADER:
        raise_format_error(
            path, 1, f"found {lines[0][:80]!r}. The header is {' <tab> '.join(_HEADER)} <tab> …"
        )
    references: list[ReferenceEnglish] = [ReferenceEnglish()] * size
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        if len(cells) < 2 or not cells[0].isdecimal() or not cells[1].strip():
            raise_format_error(
                path, number, f"found {line[:80]!r}. A line is an index, a tab and a reference."
            )
        index = int(cells[0])
        if index >= size:
            raise_format_error(
                path,
                number,
                f"index {index} is beyond the {size} sentences of the corpus file. References "
                f"go by position: use the two files of the same release.",
            )
        if references[index].text is not None:
            raise_format_error(path, number, f"index {index} has a reference already.")
        references[index] = ReferenceEnglish(cells[1])
    return references
