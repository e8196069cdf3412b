"""The English that a corpus carries beside its sentences, and the gold of that English.

* An English corpus is its own English.
* xSID writes ``text-en`` beside every sentence: that text, as it stands. Its gold is the English
  file's, moved onto that spelling, where the English sentence at the same index is the same but
  for white space.
* UNER's five PUD treebanks translate the same thousand sentences: the English is the text of
  ``en_pud`` (tokens joined by single spaces, as the model reads that treebank itself) with its
  gold, found by the sentence's own id. ``zh_pud`` has ids of its own, in another order; the table
  ``zh_pud.tsv`` beside this file gives the pairs.
* MasakhaNER 2.0 has reference translations for some languages, as files in the folder of local
  corpora: ``sentence_index``, ``reference`` and a column that is not read, by position in the
  file. Only files named ``eng_Latn`` are English; French references are never taken for it.
* Data of one's own has it beside the sentence (``english``, ``english_entities``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from harness.data import download
from harness.data.corpus import Mention, Sentence, fault, read_text
from harness.data.dataset import Dataset
from harness.errors import DownloadError

English = tuple[str | None, list[Mention] | None]

_ENGLISH = "eng_Latn"
_HEADER = ["sentence_index", "reference"]


def english_of(
    dataset: Dataset,
    language: str,
    split: str,
    sentences: Sequence[Sentence],
    data_dir: Path | str | None,
) -> list[English]:
    """English text and gold for every sentence, ``(None, None)`` where there is none.

    Raises:
        DataError: a file that holds the English is missing, could not be fetched, or has a line
            that its format does not allow.
    """
    if dataset.nllb(language) == _ENGLISH:
        return [(s.text, s.mentions) for s in sentences]
    row = dataset.table.get(language)
    if row is not None and row.english is not None:
        if dataset.format == "xsid":
            return _beside(dataset, row.english, split, sentences, data_dir)
        return _aligned(dataset, language, row.english, split, sentences, data_dir)
    if dataset.references is not None:
        folder = download.local_folder(data_dir)
        name = dataset.references.replace("{language}", language).replace("{split}", split)
        if folder is None or not (folder / name).is_file():
            return [(None, None)] * len(sentences)
        return _referenced(folder / name, len(sentences))
    return [(s.english, s.english_mentions) for s in sentences]


def _beside(
    dataset: Dataset,
    english: str,
    split: str,
    sentences: Sequence[Sentence],
    data_dir: Path | str | None,
) -> list[English]:
    """``text-en`` of every sentence; its gold where the English file can be had."""
    originals: Sequence[Sentence] = ()
    pinned = dataset.table[english].files[split]
    if data_dir is None or download.present(pinned, dataset.place(english, split), data_dir):
        # The English itself is here; without its file only its gold is out of reach.
        with contextlib.suppress(DownloadError):
            originals = dataset.read(english, split, data_dir=data_dir).sentences
    found: list[English] = []
    for i, sentence in enumerate(sentences):
        text = sentence.english
        gold = _moved(originals[i], text) if text is not None and i < len(originals) else None
        found.append((text, gold))
    return found


def _moved(sentence: Sentence, text: str) -> list[Mention] | None:
    """A sentence's mentions in another spelling of it, which differs in white space only."""
    here = [i for i, c in enumerate(sentence.text) if not c.isspace()]
    there = [i for i, c in enumerate(text) if not c.isspace()]
    if [sentence.text[i] for i in here] != [text[i] for i in there]:
        return None
    place = dict(zip(here, there, strict=True))
    moved = []
    for label, _, offsets in sentence.mentions:
        if offsets is None or offsets[0] not in place or offsets[1] - 1 not in place:
            return None
        start, end = place[offsets[0]], place[offsets[1] - 1] + 1
        moved.append(Mention(label, text[start:end], (start, end)))
    return moved


def _aligned(
    dataset: Dataset,
    language: str,
    english: str,
    split: str,
    sentences: Sequence[Sentence],
    data_dir: Path | str | None,
) -> list[English]:
    """The English treebank's sentence of the same id, or of the id that the table pairs it with."""
    originals = {s.id: s for s in dataset.read(english, split, data_dir=data_dir).sentences}
    table = Path(__file__).with_name(f"{language}.tsv")
    pairs: dict[str, str] | None = None
    if table.is_file():
        rows = table.read_text("utf-8").splitlines()[1:]
        pairs = {own: other for own, _, other in (row.partition("\t") for row in rows)}
    found: list[English] = []
    for sentence in sentences:
        key = sentence.id if pairs is None else pairs.get(sentence.id or "")
        original = originals.get(key) if key is not None else None
        found.append((None, None) if original is None else (original.text, original.mentions))
    return found


def _referenced(path: Path, size: int) -> list[English]:
    """References by sentence index; they have no gold."""
    lines = read_text(path).rstrip("\n").split("\n")
    if lines[0].split("\t")[:2] != _HEADER:
        fault(path, 1, f"found {lines[0][:80]!r}. The header is {' <tab> '.join(_HEADER)} <tab> …")
    found: list[English] = [(None, None)] * size
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        if len(cells) < 2 or not cells[0].isdecimal() or not cells[1].strip():
            fault(path, number, f"found {line[:80]!r}. A line is an index, a tab and a reference.")
        index = int(cells[0])
        if index >= size:
            fault(
                path,
                number,
                f"index {index} is beyond the {size} sentences of the corpus file. References "
                f"go by position: use the two files of the same release.",
            )
        if found[index][0] is not None:
            fault(path, number, f"index {index} has a reference already.")
        found[index] = (cells[1], None)
    return found
