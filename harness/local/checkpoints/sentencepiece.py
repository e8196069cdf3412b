"""Converting the tokenizer of folders with a sentencepiece model and no ``tokenizer.json``.

The transformers library converts it, with two silent errors that are corrected here: for NLLB,
``<mask>`` gets the first id after the pieces, which moves every language code by one; for Llama,
a space at the beginning of a text is dropped. The result is compared with sentencepiece itself.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.disk import cache_folder, replacing
from harness.errors import CheckpointError
from harness.local.checkpoints.checkpoint import Checkpoint

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: The files that hold sentencepiece models.
PIECES = ("tokenizer.model", "sentencepiece.bpe.model", "spiece.model")
_PACKAGES = {
    "transformers": "transformers",
    "sentencepiece": "sentencepiece",
    "google.protobuf": "protobuf",
}
_PROBE = "Wole Soyinka was born in Abeokuta, Nigeria, in 1934 (see: result)."


def from_pieces(checkpoint: Checkpoint) -> Path:
    """A ``tokenizer.json`` made from a folder's sentencepiece model, in the user's cache.

    Raises:
        CheckpointError: a package that this needs is not installed, or the result does not make
            the same tokens as sentencepiece.
    """
    path = (
        cache_folder().parent / "converted" / f"{checkpoint.tokenizer_sha256[:16]}-tokenizer.json"
    )
    if path.is_file():
        return path
    missing = [package for module, package in _PACKAGES.items() if not _installed(module)]
    if missing:
        raise CheckpointError(
            f"{checkpoint.folder}: there is no tokenizer.json, and making one of the "
            f"sentencepiece model takes packages that are not installed: {', '.join(missing)}. "
            f'Install them (pip install "transfusion-harness[torch]"), or copy the tokenizer.json '
            f"of the model into the folder."
        )
    tokenizer = _converted(checkpoint)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_text(tokenizer.to_str(), "utf-8")
    except OSError as error:
        raise CheckpointError(
            f"{path}: the converted tokenizer cannot be written ({error.strerror}). Free some "
            f"space, or set HARNESS_CACHE to a file in a folder that can be written."
        ) from None
    return path


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def _converted(checkpoint: Checkpoint) -> Tokenizer:
    from sentencepiece import SentencePieceProcessor
    from transformers import AutoTokenizer

    folder = checkpoint.folder
    pieces = next(folder / name for name in PIECES if (folder / name).is_file())
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder).backend_tokenizer
        model = SentencePieceProcessor(model_file=str(pieces))
    except Exception as error:  # each of the libraries has its own, down to RuntimeError
        raise CheckpointError(
            f"{folder}: no tokenizer can be made of {pieces.name}: {error}. Check that "
            f"tokenizer_config.json is the model's own, or copy its tokenizer.json into the folder."
        ) from None
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    if checkpoint.config.get("model_type") == "m2m_100":
        tokenizer = _in_published_order(content, len(model))
    elif content["model"].get("byte_fallback"):
        tokenizer = _with_spaces_kept(content)
    # Only the words that a small vocabulary has.
    words = [word for word in _PROBE.split() if model.unk_id() not in model.encode(word)]
    probe = " " + " ".join(words)
    tokens = tokenizer.encode(probe, add_special_tokens=False).tokens
    if not words or tokens != model.encode(probe, out_type=str):
        raise CheckpointError(
            f"{folder}: the tokenizer made of {pieces.name} does not make the tokens that "
            f"sentencepiece makes. Copy the tokenizer.json of the model into the folder."
        )
    return tokenizer


def _with_spaces_kept(content: dict[str, Any]) -> Tokenizer:
    """Llama's tokenizer in the published form, which keeps every space of a text."""
    from tokenizers import Tokenizer

    spaces = content["pre_tokenizer"] or {}
    if spaces.get("type") == "Metaspace":
        steps = [{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
        if spaces["prepend_scheme"] != "never":
            steps.insert(0, {"type": "Prepend", "prepend": "▁"})
        content["normalizer"] = {"type": "Sequence", "normalizers": steps}
        content["pre_tokenizer"] = None
    return Tokenizer.from_str(json.dumps(content))


def _in_published_order(content: dict[str, Any], pieces: int) -> Tokenizer:
    """NLLB's tokenizer with its language codes where the published vocabulary has them.

    The codes follow the pieces, in the order of the published list, and ``<mask>`` is the last.
    Pieces have an id one higher than in sentencepiece, because of fairseq's ``<pad>``.
    """
    from tokenizers import AddedToken, Tokenizer
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    first = pieces + 1
    content["added_tokens"] = [t for t in content["added_tokens"] if t["id"] < first]
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {piece: i for piece, i in vocabulary.items() if i < first}
    content["post_processor"] = None  # it has the wrong ids; callers add special tokens
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.add_special_tokens(list(FAIRSEQ_LANGUAGE_CODES))
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=True)])
    return tokenizer
