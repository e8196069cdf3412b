"""A training recipe: the TOML file that says what is trained, on what, and for how long."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from harness.errors import ExperimentError
from harness.sections import Section, validated


class CausalModel(Section):
    """The shape of a Llama, in the words of its ``config.json``.

    ``embedding_range`` is the deviation of the embeddings at the start. A rare letter is copied
    by its embedding, trained or not, if that is long enough to be told from others.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int = 1024
    rope_theta: float = 10_000.0
    embedding_range: float = 0.02


class TokenizerEntry(Section):
    """``vocabulary`` tokens beside the fixed ones, learned from that many ``sentences``.

    ``shared_words`` more are words with a capital (``tokenizer.py``).
    """

    vocabulary: int
    sentences: int
    shared_words: int = 0


class Noise(Section):
    """What happens to the English of a training prompt, as shares.

    ``sentences`` of them are touched at all; in these, at most so many of the ``words`` and
    ``names``, a different share each time.
    """

    sentences: float = Field(default=0.0, ge=0, le=1)
    words: float = Field(default=0.0, ge=0, le=1)
    names: float = Field(default=0.0, ge=0, le=1)


class SampleText(Section):
    """Which prompts are trained on.

    ``languages`` and ``strategies`` are shares of the samples; ``schema_variants`` is the share
    whose schema lacks classes or has them in another order; ``spelled`` the share of the
    pieces of small letters of a prompt, in names too, that are given as single characters.
    ``composed`` is the share of the sentences that are put together word by word
    (``clauses.py``) and not from patterns. Of the English ones a share ``spliced`` is cut and
    joined to another, and in a share ``exchanged`` of all up to half of the words that stand
    apart from names are any other ones. None of this is done to the first ``plain`` sentences,
    with which copying is learned sooner.
    """

    schema_: str = Field(alias="schema")
    languages: Mapping[str, float]
    strategies: Mapping[str, float]
    schema_variants: float = Field(default=0.0, ge=0, le=1)
    spelled: float = Field(default=0.0, ge=0, le=1)
    composed: float = Field(default=0.0, ge=0, le=1)
    spliced: float = Field(default=0.0, ge=0, le=1)
    exchanged: float = Field(default=0.0, ge=0, le=1)
    plain: int = 0
    noise: Noise = Noise()


class Auxiliary(Section):
    """A loss on the English of the prompt, for the first ``share`` of the training.

    It teaches to copy names from one text to the other before answers can.
    """

    weight: float = 0.0
    share: float = Field(default=0.0, ge=0, le=1)


class Course(Section):
    """How long and how fast. ``tokens`` are those of all batches, padding not counted.

    Learning rates rise over ``warmup`` of the training and fall to ``final`` of their height
    along a cosine.
    """

    tokens: int
    batch_tokens: int
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 2e-3
    matrix_learning_rate: float = 2e-2
    weight_decay: float = 0.05
    warmup: float = 0.03
    final: float = 0.02
    clip: float = 1.0
    threads: int = 1
    check_every: int = 500


class CausalTraining(Course):
    """The length of samples is bounded by ``shortest`` tokens at first, and by nothing after the
    share ``short_share``."""

    shortest: int = 64
    short_share: float = Field(default=0.0, ge=0, le=1)
    auxiliary: Auxiliary = Auxiliary()


class CausalRecipe(Section):
    """A whole recipe for a causal language model."""

    kind: Literal["causal"]
    model: CausalModel
    tokenizer: TokenizerEntry
    text: SampleText
    training: CausalTraining


class TranslatorModel(Section):
    """The shape of an M2M100, in the words of its ``config.json``, both halves of one width."""

    d_model: int
    ffn_dim: int
    encoder_layers: int
    decoder_layers: int
    attention_heads: int
    dropout: float = Field(default=0.0, ge=0, lt=1)
    max_position_embeddings: int = 256


class PairText(Section):
    """Which pairs a translator is trained on.

    ``languages`` are shares of the sentences, and a share ``composed`` of all are clauses put
    together word by word. After a share ``names`` of them one of its names follows as a pair of
    its own. In ``unknown_sentences`` of them at most ``unknown_words`` of
    the lower-case words, a different share each time, are made into words that nobody knows.
    ``spelled`` is as in :class:`SampleText`.
    """

    languages: Mapping[str, float]
    composed: float = Field(default=0.0, ge=0, le=1)
    names: float = Field(default=0.0, ge=0, le=1)
    unknown_sentences: float = Field(default=0.0, ge=0, le=1)
    unknown_words: float = Field(default=0.0, ge=0, le=1)
    spelled: float = Field(default=0.0, ge=0, le=1)


class TranslatorTraining(Course):
    """``label_smoothing`` is the share of the likelihood that all tokens share."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


class TranslatorRecipe(Section):
    """A whole recipe for a translator to English."""

    kind: Literal["translator"]
    model: TranslatorModel
    tokenizer: TokenizerEntry
    text: PairText
    training: TranslatorTraining


AnyRecipe = Annotated[CausalRecipe | TranslatorRecipe, Field(discriminator="kind")]


def load_recipe(path: Path) -> CausalRecipe | TranslatorRecipe:
    """Read a recipe; raises ExperimentError, which names the file and the key."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExperimentError(f"{path}: no such file. Check the path.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise ExperimentError(f"{path}: {problem}. Correct the file.") from None
    adapter = TypeAdapter[CausalRecipe | TranslatorRecipe](AnyRecipe)
    return validated(adapter.validate_python, document, str(path))
