"""Language codes: the published list, and every way of having them in the wrong place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.data import catalog
from harness.errors import CheckpointError
from harness.translation.codes import PUBLISHED, check_codes

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "c"]


def check(tokens: Sequence[str], rows: Sequence[str], *wanted: str) -> None:
    ids = {token: place for place, token in enumerate(tokens)}
    check_codes("m", wanted, rows=rows, id_of=ids.get)


def test_the_published_list_has_the_codes_of_flores(corpora: Path) -> None:
    lines = (corpora / "nllb" / "flores200_codes.tsv").read_text("utf-8").splitlines()[1:]
    flores = {line.split("\t")[0] for line in lines}
    assert len(PUBLISHED) == len(set(PUBLISHED)) == 202
    # FLORES has two more than the model was given a token for, and one in its right script.
    assert flores - set(PUBLISHED) == {"arb_Latn", "min_Arab", "sat_Olck"}
    assert set(PUBLISHED) - flores == {"sat_Beng"}


def test_every_code_of_the_catalogue_is_nllbs() -> None:
    codes = {d.nllb_code(language) for d in catalog().values() for language in d.table}
    assert codes - {None} <= set(PUBLISHED)


def test_the_published_layout_passes() -> None:
    whole = [*PIECES, *PUBLISHED, "<mask>"]
    check(whole, [*whole, "madeupword0", "madeupword1"], *PUBLISHED)
    some = [*PIECES, "eng_Latn", "yor_Latn", "swh_Latn", "<mask>"]
    check(some, some, "yor_Latn")


def test_a_vocabulary_of_the_published_size_has_the_published_rows() -> None:
    pieces = [f"p{i}" for i in range(256_001 - len(PIECES))]
    right = [*PIECES, *pieces, *PUBLISHED, "<mask>"]
    padding = ["madeupword0", "madeupword1"]
    check(right, right + padding, "swh_Latn")
    for wrong in (
        [*PIECES, *pieces, "extra", *PUBLISHED, "<mask>"],
        [*PIECES, *pieces[1:], *PUBLISHED, "<mask>", "extra"],
    ):
        rows = (wrong + padding)[: len(right) + 2]
        with pytest.raises(CheckpointError, match="published as 256001"):
            check(wrong, rows, "swh_Latn")


@pytest.mark.parametrize(
    ("tokens", "rows", "wanted"),
    [
        (PIECES, [*PIECES, *PUBLISHED], "no language codes"),
        ([*PIECES, "<mask>", *PUBLISHED], [*PIECES, "<mask>", *PUBLISHED], "<mask> takes"),
        ([*PIECES, "<mask>", *PUBLISHED], [*PIECES, *PUBLISHED, "<mask>"], "ace_Arab is token 8"),
        ([*PIECES, "swh_Latn"], [*PIECES, "swh_Latn"], "Unknown language code 'eng_Latn'"),
        ([*PIECES, "eng_Latn"], [*PIECES, "eng_Latn"], "Unknown language code 'swh_Latn'"),
        ([*PIECES, "eng_Latn", "swh_Latn"], [*PIECES, "eng_Latn"], "have nothing"),
        ([*PIECES, *reversed(PUBLISHED)], [*PIECES, *reversed(PUBLISHED)], "published as"),
        (["</s>", *PUBLISHED], ["<s>", *PUBLISHED], "</s> is token 0"),
    ],
)
def test_misplaced_codes_are_refused(
    tokens: Sequence[str], rows: Sequence[str], wanted: str
) -> None:
    with pytest.raises(CheckpointError, match=wanted):
        check(list(tokens), list(rows), "swh_Latn")
