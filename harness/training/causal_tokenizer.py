"""The tokenizer of the embedded annotator: names in pairs of letters, what recurs as one.

A model that is to copy names it has never seen must not know names by their parts. So every
word with a capital in it is split into pieces of two letters, all of which occur in invented
names (single letters make an answer twice as long, and what comes after one less certain), and
every digit and sign stands alone. Words in lower case, which tell what a name is, are made of
pieces learned from text (BPE; a frequent word is one piece, with the space before it). The fixed
parts of the prompts and answers are one token each, which keeps the sequences short. Characters
outside the alphabet fall back to their bytes, so that decoding gives back every text.

The exception are words with a capital that are no names themselves: those that begin sentences
(*The*, *According*) and those that many names share and that tell their class (*University*,
*River*, *Rangers*). The most frequent of them are one token.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.prompting.schema import Schema
from harness.prompting.templates import Template
from harness.records import Example
from harness.training.samples import HEADINGS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, BOS, EOS = _SPECIAL = ("<pad>", "<s>", "</s>")

# A word, with the space before it and with apostrophes and hyphens inside it.
_WORD = r" ?[\p{L}\p{M}]+(?:['’ʼ\-][\p{L}\p{M}]+)*"
# Of a word: the whole of it in lower case, else two letters after two letters, a capital first.
_LOWER_OR_PAIRS = (
    r"^ ?[\p{Ll}\p{Lm}\p{M}'’ʼ\-]+$"
    r"|\p{Lu}\p{M}*\p{Ll}\p{M}*|\p{Ll}\p{M}*\p{Ll}\p{M}*|\p{Lu}\p{Lu}|."
)

# Letters beyond ASCII of the languages, and the signs of their texts; more are found in the text.
_LETTERS = "àáâãäåæçèéêëìíîïñòóôõöøùúûüýẹọṣńǹḿɓɗƙƴšžćčğış"
_ALPHABET = (
    "".join(map(chr, range(0x20, 0x7F)))
    + "\n"
    + "".join(sorted(set(_LETTERS + _LETTERS.upper())))
    + "\u0300\u0301\u0304«»‘’“”–—…°€£ºª"
)

# A word that does not begin with a small letter of English, whole.
_CAPITALISED = re.compile(r"(?<![\w\u0300\u0301'’-])[^\W\d_a-z][\w\u0300\u0301]*(?![\w'’-])")

_GAP = "\0"


def train_tokenizer(
    texts: Iterable[str], scaffold: Sequence[str], words: Sequence[str] = (), *, vocabulary: int
) -> Tokenizer:
    """Learn the pieces of lower-case words from ``texts``.

    ``scaffold`` are the fixed parts of prompts and answers (:func:`scaffold_of`), and ``words``
    those that are one token in spite of their capital (:func:`shared_words`); ``vocabulary`` is
    the number of tokens without either. The same texts give the same tokenizer.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORD), "isolated"),
            pre_tokenizers.Split(Regex(_LOWER_OR_PAIRS), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[*_SPECIAL, *(f"<0x{value:02X}>" for value in range(256))],
            initial_alphabet=list(_ALPHABET),
            show_progress=False,
        ),
    )
    # The trainer takes the bytes for special tokens, which would keep them out of decoded text.
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = content["added_tokens"][: len(_SPECIAL)]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in scaffold])
    tokenizer.add_tokens([AddedToken(word, normalized=False, single_word=True) for word in words])
    return tokenizer


def shared_words(examples: Iterable[Example], count: int) -> list[str]:
    """The ``count`` most frequent words with a capital that are not names themselves.

    A word counts where it stands outside names, or in an organization's or a place's name of
    several words; it is a name itself where it is often a person's, or a whole name.
    """
    shared: Counter[str] = Counter()
    own: Counter[str] = Counter()
    for example in examples:
        sides = [(example.text, example.gold)]
        if example.language != "eng":
            sides.append((example.english or "", example.english_gold or ()))
        for text, gold in sides:
            end = 0
            for annotation in gold:
                start, last = annotation.offsets or (end, end)
                shared.update(_CAPITALISED.findall(text[end:start]))
                whole = annotation.type == "Person" or " " not in annotation.span
                (own if whole else shared).update(_CAPITALISED.findall(annotation.span))
                end = last
            shared.update(_CAPITALISED.findall(text[end:]))
    good = {
        word: n
        for word, n in shared.items()
        if len(word) > 1 and word[0].isupper() and n > 10 * own[word]
    }
    return sorted(good, key=lambda word: (-good[word], word))[:count]


def scaffold_of(schema: Schema, templates: Iterable[Template]) -> list[str]:
    """The fixed parts of the prompts of these templates and of their answers.

    A class of the schema is one part, and so is what a template has between its variables.
    """
    parts = [' "', ' (\n    "', '"\n)', " [\n", " []", '"),\n', '"\n    ),\n', "\n\n\n"]
    for kind in schema.classes:
        field = kind.fields[0][0]
        parts += [f'    {kind.name}({field}="', f'    {kind.name}(\n        {field}="']
    parts += schema.source.split("\n\n\n")
    for name, heading in HEADINGS.items():
        parts += [f"]{heading}{name} =", f"{heading}{name} ="]
    for template in templates:
        values = {"guidelines": _GAP, "text": "", "eng_text": "", "literal": lambda _: _GAP}
        values["shots"] = ()
        values["assign"] = lambda name, _: f"{name} ={_GAP}"
        parts += template.fill(values).split(_GAP)
    return list(dict.fromkeys(filter(None, parts)))


def letters_of(tokenizer: Tokenizer) -> Mapping[int, list[int]]:
    """For every piece of a lower-case word its characters' ids, where there are several."""
    vocabulary, added = tokenizer.get_vocab(), tokenizer.get_added_tokens_decoder()
    return {
        token: [vocabulary[letter] for letter in text]
        for text, token in vocabulary.items()
        if len(text) > 1
        and token not in added
        and text.lstrip(" ")[:1].islower()
        and all(letter in vocabulary for letter in text)
    }
