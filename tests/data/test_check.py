"""What ``ls datasets`` and ``check datasets`` are made of, held against published counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.data import FileReport, catalog, check, describe, resolve
from harness.errors import UnknownNameError
from harness.records import Example

# Test split: sentences, tokens, persons, organizations, locations, dates, sentences without gold,
# orphan I-, changes of type, duplicate sentences, gold that is not NFC.
MASAKHANER2 = {
    "bam": (1274, 32024, 459, 95, 566, 195, 640, 0, 0, 0, 0),
    "bbj": (966, 14958, 399, 217, 256, 180, 412, 0, 0, 12, 280),
    "ewe": (1001, 20442, 442, 240, 1326, 336, 102, 0, 0, 5, 100),
    "fon": (1228, 36415, 296, 230, 411, 370, 671, 0, 0, 0, 0),
    "hau": (1633, 44848, 1194, 1188, 970, 757, 281, 1, 0, 14, 0),
    "ibo": (2181, 71802, 1051, 432, 1400, 358, 932, 0, 0, 33, 0),
    "kin": (2235, 52284, 712, 685, 1593, 791, 885, 1, 0, 85, 0),
    "lug": (1412, 22329, 791, 573, 590, 313, 241, 0, 0, 2, 0),
    "luo": (1474, 44275, 840, 540, 773, 413, 462, 0, 0, 5, 0),
    "mos": (1294, 27700, 206, 347, 415, 228, 746, 0, 0, 0, 0),
    "nya": (1785, 51610, 1469, 722, 787, 486, 537, 0, 0, 15, 0),
    "pcm": (1613, 41760, 639, 658, 660, 390, 690, 0, 0, 0, 0),
    "sna": (1773, 38460, 1414, 1139, 837, 470, 312, 0, 0, 0, 0),
    "swa": (1883, 51179, 1180, 628, 1924, 598, 409, 1, 0, 5, 0),
    "tsn": (996, 26705, 614, 465, 248, 179, 306, 0, 0, 1, 0),
    "twi": (1211, 28996, 223, 193, 218, 101, 858, 0, 0, 1, 0),
    "wol": (1312, 38127, 456, 362, 536, 169, 623, 0, 0, 0, 0),
    "xho": (1633, 26326, 1173, 841, 539, 294, 477, 1, 3, 27, 0),
    "yor": (1964, 45653, 766, 402, 529, 312, 1055, 1, 0, 24, 1207),
    "zul": (1670, 26086, 888, 373, 337, 321, 747, 3, 0, 0, 0),
}
# Sentences of the development split, and its repairs (orphan I-, changes of type).
MASAKHANER2_DEV = {
    "bam": 638, "bbj": 483, "ewe": 501, "fon": 623, "hau": 816, "ibo": 1090, "kin": 1118,
    "lug": 706, "luo": 737, "mos": 648, "nya": 893, "pcm": 806, "sna": 887, "swa": 942,
    "tsn": 499, "twi": 605, "wol": 656, "xho": 817, "yor": 983, "zul": 836,
}  # fmt: skip
DEV_REPAIRS = {"kin": (1, 0), "luo": (0, 1), "xho": (0, 1)}

# Test split: sentences, tokens, persons, organizations, locations, others, sentences without gold,
# duplicate sentences, tokens with a space inside; sentences of the development split.
UNER = {
    "ceb_gja": (188, 1295, 42, 1, 6, 0, 147, 0, 0, None),
    "da_ddt": (565, 10023, 185, 172, 90, 0, 315, 0, 0, 564),
    "de_pud": (1000, 21331, 418, 192, 429, 0, 415, 0, 0, None),
    "en_ewt": (2077, 25097, 449, 322, 317, 0, 1368, 106, 0, 2001),
    "en_pud": (1000, 21176, 414, 235, 426, 0, 415, 0, 0, None),
    "hr_set": (1136, 24260, 392, 414, 597, 133, 476, 1, 0, 960),
    "pt_bosque": (1167, 27604, 442, 456, 317, 0, 544, 0, 0, 1172),
    "pt_pud": (1000, 23407, 413, 198, 488, 0, 408, 0, 0, None),
    "ru_pud": (1000, 19355, 414, 276, 346, 0, 430, 0, 2, None),
    "sk_snk": (1061, 12736, 539, 50, 326, 0, 504, 14, 0, 1060),
    "sr_set": (520, 11421, 209, 251, 387, 54, 128, 1, 0, 536),
    "sv_pud": (1000, 19076, 425, 162, 442, 0, 423, 0, 10, None),
    "sv_talbanken": (1219, 20377, 33, 31, 132, 0, 1098, 2, 46, 504),
    "tl_trg": (128, 734, 19, 0, 4, 0, 110, 0, 0, None),
    "tl_ugnayan": (94, 1097, 2, 0, 31, 0, 72, 0, 0, None),
    "zh_gsd": (500, 12012, 206, 127, 434, 0, 185, 0, 0, 500),
    "zh_gsdsimp": (500, 12012, 205, 129, 429, 0, 186, 0, 0, 500),
    "zh_pud": (1000, 21415, 473, 154, 512, 0, 408, 0, 0, None),
}
# I- that begin a span, with others read as O first: (treebank, split).
UNER_ORPHANS = {("da_ddt", "test"): 1, ("hr_set", "dev"): 1, ("sr_set", "dev"): 2}
OTHERS_DEV = {"hr_set": 154, "sr_set": 100}

# Split and language: unknown labels, empty tokens.
XSID_ODD = {
    ("ar", "test"): (24, 0),
    ("ar", "dev"): (13, 0),
    ("tr", "test"): (30, 0),
    ("tr", "dev"): (16, 0),
    ("zh", "test"): (0, 6),
    ("zh", "dev"): (0, 1),
}


def reports(corpora: Path, name: str) -> dict[tuple[str, str], FileReport]:
    found = {(r.language, r.split): r for r in check([name], data_dir=corpora)}
    assert found
    for report in found.values():
        assert report.error is None
        assert report.checksum == "ok"
        assert report.where == "local"
    return found


def test_masakhaner2_counts(corpora: Path) -> None:
    for (code, split), r in reports(corpora, "masakhaner2").items():
        odd = r.oddities
        repairs = (odd["orphan_i"], odd["type_change"])
        if split == "test":
            counted = (
                r.sentences, r.tokens, *r.entities.values(), r.left_out["DATE"], r.no_entity,
                *repairs, odd["duplicate_sentences"], odd["non_nfc_gold"],
            )  # fmt: skip
            assert (code, counted) == (code, MASAKHANER2[code])
        elif split == "dev":
            assert (code, r.sentences) == (code, MASAKHANER2_DEV[code])
            assert (code, repairs) == (code, DEV_REPAIRS.get(code, (0, 0)))
        assert odd["unknown_tags"] == 0
        assert odd["empty_tokens"] == 0 or split == "train"


def test_uner_counts(corpora: Path) -> None:
    for (code, split), r in reports(corpora, "uner").items():
        odd = r.oddities
        *expected, dev = UNER[code]
        if split == "test":
            counted = [
                r.sentences, r.tokens, *r.entities.values(), r.left_out.get("OTH", 0), r.no_entity,
                odd["duplicate_sentences"], odd["spaced_tokens"],
            ]  # fmt: skip
            assert (code, counted) == (code, expected)
        elif split == "dev":
            assert (code, r.sentences) == (code, dev)
            assert (code, r.left_out.get("OTH", 0)) == (code, OTHERS_DEV.get(code, 0))
        assert (code, odd["orphan_i"]) == (code, UNER_ORPHANS.get((code, split), 0))
        assert odd["type_change"] == odd["unknown_tags"] == odd["empty_tokens"] == 0
        assert odd["duplicate_ids"] == 0


def test_xsid_counts(corpora: Path) -> None:
    for (code, split), r in reports(corpora, "xsid").items():
        size = {"test": 500, "dev": 300}[split] // (2 if code == "ja" else 1)
        assert (code, r.sentences) == (code, size)
        odd = r.oddities
        unknown, empty = XSID_ODD.get((code, split), (0, 0))
        assert (code, odd["unknown_tags"], odd["empty_tokens"]) == (code, unknown, empty)
        assert odd["orphan_i"] == odd["type_change"] == odd["empty_mentions"] == 0
        assert r.left_out == ({"reference-part": unknown} if unknown else {})
        if split == "test":
            assert 49 <= odd["duplicate_sentences"] <= 61
            assert 14 <= r.no_entity <= 32


def rows(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "masakhaner2" / "swa" / "test.txt"
    path.parent.mkdir(parents=True)
    path.write_text("Ada B-PER\nOkoro I-PER\nyuko O\nKano B-LOC\n\njana B-DATE\n", encoding="utf-8")
    return tmp_path


def one(folder: Path, **options: object) -> FileReport:
    (report,) = check(["masakhaner2"], data_dir=folder, **options)  # type: ignore[arg-type]
    return report


def test_damaged_copies_are_reported(folder: Path) -> None:
    path = folder / "masakhaner2" / "swa" / "test.txt"
    whole = rows(path)
    report = one(folder)
    assert (report.checksum, report.ok) == ("differs", False)
    assert (report.sentences, report.tokens, report.no_entity) == (2, 5, 1)
    assert report.entities == {"Person": 1, "Organization": 0, "Location": 1}
    assert report.left_out == {"DATE": 1}
    assert not any(report.oddities.values())

    def damaged(old: str, new: str) -> tuple[dict[str, int], dict[str, int]]:
        path.write_text(whole.replace(old, new), encoding="utf-8")
        found = one(folder)
        assert (found.sentences, found.tokens) == (2, 5)
        return (
            {cls: n for cls, n in found.entities.items() if n},
            {name: n for name, n in found.oddities.items() if n},
        )

    # A flipped tag, an orphan I-, an empty token, a label that there is not.
    assert damaged("Kano B-LOC", "Kano B-ORG") == ({"Person": 1, "Organization": 1}, {})
    assert damaged("Kano B-LOC", "Kano I-LOC") == ({"Person": 1, "Location": 1}, {"orphan_i": 1})
    assert damaged("Okoro I-PER", "Okoro I-LOC") == (
        {"Person": 1, "Location": 2},
        {"type_change": 1},
    )
    assert damaged("Okoro I-PER", "Okoro O") == ({"Person": 1, "Location": 1}, {})
    assert damaged("yuko O", " O") == ({"Person": 1, "Location": 1}, {"empty_tokens": 1})
    assert damaged("Okoro I-PER", " I-PER") == ({"Person": 1, "Location": 1}, {"empty_tokens": 1})
    assert damaged("Kano B-LOC", " B-LOC") == (
        {"Person": 1},
        {"empty_tokens": 1, "empty_mentions": 1},
    )
    assert damaged("Kano B-LOC", "Kano B-LAC") == ({"Person": 1}, {"unknown_tags": 1})


def test_a_file_that_cannot_be_read_does_not_end_the_check(folder: Path) -> None:
    other = folder / "masakhaner2" / "yor" / "test.txt"
    other.parent.mkdir()
    other.write_text("lọ O\n", encoding="utf-8")
    path = folder / "masakhaner2" / "swa" / "test.txt"
    path.write_text("Ada B-PER\nKano\n", encoding="utf-8")
    broken, fine = check(["masakhaner2"], data_dir=folder)
    assert broken.error is not None
    assert broken.error.startswith(f"{path}:2: found 1 column")
    assert (broken.ok, broken.sentences) == (False, 0)
    assert (fine.language, fine.sentences, fine.error) == ("yor", 1, None)


def test_a_measure_is_applied_to_the_examples(folder: Path) -> None:
    def measure(examples: Sequence[Example]) -> float:
        return float(sum(len(e.gold) for e in examples))

    assert one(folder, ceiling=measure).ceiling == 2.0
    assert one(folder).ceiling is None


def test_names_are_checked_at_once() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'uner'"):
        check(["unner"])


def test_ones_own_data_can_be_checked(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(
        '{"language": "hau", "text": "Ada a Kano", "entities": '
        '[{"label": "MISC", "span": "Ada"}]}\n'
        '{"language": "swa", "tokens": ["Ada", ""], "entities": '
        '[{"label": "PER", "start": 0, "end": 1}]}\n',
        encoding="utf-8",
    )
    own = resolve("own", path=path, labels={"PER": "Person", "MISC": "O"})
    hausa, swahili = check([own])
    assert (hausa.where, hausa.checksum, hausa.ok) == ("local", "unpinned", True)
    assert (hausa.tokens, hausa.entities, hausa.left_out) == (3, {"Person": 0}, {"MISC": 1})
    assert (swahili.tokens, swahili.entities, swahili.left_out) == (2, {"Person": 1}, {})
    assert swahili.oddities["empty_tokens"] == 1


def test_the_list_of_datasets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(folder / "answers.sqlite"))
    monkeypatch.setenv("HARNESS_DATA", str(folder))
    found = {(row.dataset, row.language): row for row in describe()}
    counts = Counter(dataset for dataset, _ in found)
    assert [counts[name] for name in ("masakhaner2", "uner", "xsid")] == [20, 18, 15]
    assert list(counts) == list(catalog())
    swahili = found["masakhaner2", "swa"]
    assert swahili.where == {"train": "remote", "dev": "remote", "test": "local"}
    assert (swahili.name, swahili.nllb, swahili.licence) == ("Swahili", "swh_Latn", "CC BY-NC 4.0")
    assert found["demo", "swa"].where["test"] == "packaged"
    assert found["demo", "swa"].name == "Swahili"
    given = {(row.dataset, row.language): row for row in describe(folder)}
    assert given["uner", "en_pud"].where == {"test": "missing"}
