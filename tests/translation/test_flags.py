"""What flags say, on made-up cases and on thousands of translations that people wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.translation.flags import FLAGS, flags_of
from harness.translation.splitting import split_sentences

SENTENCE = "Mkutano ulifanyika mjini Kano siku ya Jumatatu."


@pytest.mark.parametrize(
    ("english", "wanted"),
    [
        ("The meeting took place in Kano on Monday.", ()),
        ("", ("empty",)),
        (" \n", ("empty",)),
        ("The the the the meeting took place in Kano.", ("repeating",)),
        ("That that is, is; that that is not, is not, very very much.", ()),
        ("In the city of Kano, in the city of Kano, in the city of Kano,", ("repeating",)),
        ("Kanananananananananananana took place in the city.", ("repeating",)),
        ("The meeting took place . . . . . on Monday in Kano.", ()),
        ("Встреча состоялась в понедельник.", ("wrong_script",)),
        ("会议于星期一在卡诺市举行，许多人参加了。", ("wrong_script",)),
        ("The meeting took place in Kano (Кано) on Monday.", ()),
        ("Réunion à Kraków, Łódź, Hawaiʻi, Ẹ̀kọ́ and Ŋdɔ.", ()),
        ("Kano.", ("length_ratio",)),
        ("A long meeting, " + "of which much was said by many there, " * 3, ("repeating",)),
        ("The meeting, of which much had been expected by people who had come to Kano from far "
         "away on foot, by bus and by train, was held on Monday, as they had hoped for so long.",
         ("length_ratio",)),
    ],
)  # fmt: skip
def test_flags(english: str, wanted: tuple[str, ...]) -> None:
    assert set(flags_of(SENTENCE, english)) == set(wanted)


def test_order_and_what_the_engine_says() -> None:
    assert flags_of("Ah", "", truncated=True) == ("truncated", "empty")
    # A text that repeats itself is translated so.
    assert flags_of("Ha ha ha ha ha!", "Ha ha ha ha ha!") == ()
    assert len(FLAGS) == 5


def test_people_are_hardly_ever_flagged(corpora: Path) -> None:
    folder = corpora / "flores_sib200"
    texts = {
        path.parent.name: path.read_text("utf-8").splitlines()[1:]
        for path in sorted(folder.glob("*/test.tsv"))
    }
    english = texts.pop("eng_Latn")
    pairs = [
        (line.split("\t")[-1], ours.split("\t")[-1])
        for lines in texts.values()
        for line, ours in zip(lines, english, strict=True)
    ]
    assert len(pairs) > 2000
    assert not [pair for pair in pairs if flags_of(*pair)]
    # The other way round, Russian and Chinese are told from English.
    for code in ("rus_Cyrl", "zho_Hant"):
        for line in texts[code]:
            assert "wrong_script" in flags_of("x" * 100, line.split("\t")[-1])


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("Alifika leo. Ataondoka kesho.", ["Alifika leo.", "Ataondoka kesho."]),
        ("Alifika leo . Ataondoka kesho ?", ["Alifika leo .", "Ataondoka kesho ?"]),
        ("Dr. Grace alifika.", ["Dr. Grace alifika."]),
        ("J. K. Rowling na St. Petersburg, U.S. na k.m. leo.", None),
        ("Ni asilimia 3.5 kwa No. 7 leo.", None),
        ('Alisema: "Nenda!" Akaondoka.', ['Alisema: "Nenda!"', "Akaondoka."]),
        ("Habari za leo ... nzuri sana.", ["Habari za leo ...", "nzuri sana."]),
        ("鐵輪取代了木輪。1767年，鐵路問世。", ["鐵輪取代了木輪。", "1767年，鐵路問世。"]),
        ("Mwisho . .", ["Mwisho . ."]),
        ("bila alama", ["bila alama"]),
        ("  ", []),
        (".", ["."]),
    ],
)  # fmt: skip
def test_sentences(line: str, wanted: list[str] | None) -> None:
    assert split_sentences(line) == ([line] if wanted is None else wanted)
    # Nothing is lost but the space between.
    assert "".join("".join(split_sentences(line)).split()) == "".join(line.split())
