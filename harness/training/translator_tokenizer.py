"""The tokenizer of the embedded translator: the annotator's pieces in NLLB's order.

Names are pairs of letters, lower-case words are pieces, and words that many names share are tokens
(:mod:`harness.training.causal_tokenizer`); round them stand the special tokens where NLLB has them:
``<s> <pad> </s> <unk>`` first, at the end the language codes, one token each, and ``<mask>`` after
them. A text alone is encoded as a source, ``[code] tokens </s>``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.training.causal_tokenizer import train_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END, UNKNOWN, MASK = "</s>", "<unk>", "<mask>"
_FIRST = ("<s>", "<pad>", END, UNKNOWN)
# M2M100's table of positions takes it for granted that padding is token 1.
PAD = 1
ENGLISH = "eng"
#: NLLB's codes of the languages of the synthetic text, in the order of its vocabulary.
CODES = {
    "eng": "eng_Latn",
    "hau": "hau_Latn",
    "por": "por_Latn",
    "swa": "swh_Latn",
    "yor": "yor_Latn",
    "zul": "zul_Latn",
}


def train_translator_tokenizer(
    texts: Iterable[str], words: Sequence[str] = (), *, vocabulary: int
) -> Tokenizer:
    """Learn the pieces of lower-case words from ``texts``.

    ``words`` are tokens in spite of their capital; ``vocabulary`` counts all other tokens.
    """
    from tokenizers import Tokenizer, processors

    beside = len(_FIRST) + len(CODES) + 1
    learned = train_tokenizer(texts, (), vocabulary=vocabulary - beside)
    content = json.loads(learned.to_str())
    special = {token["content"] for token in content["added_tokens"]}
    by_id = sorted(content["model"]["vocab"], key=content["model"]["vocab"].__getitem__)
    # A word of two letters may be a piece already.
    pieces = [piece for piece in by_id if piece not in special and piece not in words]
    tokens = [*_FIRST, *pieces, *words, *CODES.values(), MASK]
    places = {token: place for place, token in enumerate(tokens)}
    content["model"]["vocab"] = places
    content["model"]["unk_token"] = UNKNOWN
    content["added_tokens"] = [
        _added(places[token], token, special=token not in words)
        for token in (*_FIRST, *words, *CODES.values(), MASK)
    ]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    english = CODES[ENGLISH]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[english, "$A", END],
        pair=[english, "$A", "$B", END],
        special_tokens=[(token, places[token]) for token in (english, END)],
    )
    return tokenizer


def _added(place: int, token: str, *, special: bool) -> dict[str, object]:
    return {
        "id": place,
        "content": token,
        "single_word": not special,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }
