"""The tokenizer of all local engines: texts to token ids and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import CheckpointError
from harness.local.checkpoints import chat_template, model_files
from harness.local.checkpoints.checkpoint import Checkpoint
from harness.local.checkpoints.sentencepiece import PIECES, from_pieces

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# A text that has to come back unchanged from its tokens; it ends as prompts do.
_PROBE = 'text = "Kano (x) 12, b."\n\n# listed here\nresult ='
_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")


class TextTokenizer:
    """A causal model's tokenizer: exactly one BOS, no EOS, whatever the saved flags say.

    ``bos`` is the id that begins every prompt (``None`` where the model has none); ``ends`` are
    the end-of-sequence ids.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        bos: int | None,
        ends: Iterable[int],
        special_tokens: Mapping[str, str],
        template: str | None,
    ) -> None:
        self.bos = bos
        self.ends = frozenset(ends)
        self._tokenizer = tokenizer
        self._special_tokens = special_tokens
        self._template = template

    def encode(self, text: str) -> list[int]:
        """The ids of a prompt: BOS and the text. Special tokens written in the text are text."""
        self._tokenizer.encode_special_tokens = True
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids if self.bos is None else [self.bos, *ids]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        return str(self._tokenizer.decode(list(ids)))

    def token(self, token_id: int) -> str | None:
        """The token of an id in the vocabulary, ``None`` where there is none."""
        token: str | None = self._tokenizer.id_to_token(token_id)
        return token

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The ids of a chat (``role`` and ``content`` each) up to where the answer begins.

        Raises:
            CheckpointError: the folder has no chat template, or it does not take these messages.
        """
        if self._template is None:
            raise CheckpointError(
                "This model has no chat template (tokenizer_config.json, chat_template.jinja): "
                'it was not trained on chats. Use wrap = "completion".'
            )
        text = chat_template.render_chat(self._template, messages, self._special_tokens)
        self._tokenizer.encode_special_tokens = False
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        # Whether a chat begins with BOS is the template's decision; two are never right.
        while self.bos is not None and ids[:2] == [self.bos, self.bos]:
            del ids[0]
        return ids


def load_tokenizer(checkpoint: Checkpoint) -> TextTokenizer:
    """The tokenizer of a causal model, checked with a probe text.

    Raises:
        CheckpointError: there is none, it needs a package that is not installed, or a text does
            not come back unchanged from its tokens.
    """
    raw = raw_tokenizer(checkpoint)
    folder = checkpoint.folder
    named = _special_tokens(folder)
    ids = {name: raw.token_to_id(text) for name, text in named.items()}
    bos = ids.get("bos_token")
    if bos is None and not (folder / "tokenizer_config.json").is_file():
        bos = next(iter(_ids(checkpoint.config.get("bos_token_id"))), None)
    generation = model_files.read_json(folder / "generation_config.json")
    ends = {
        *_ids(checkpoint.config.get("eos_token_id")),
        *_ids(generation.get("eos_token_id")),
        *_ids(ids.get("eos_token")),
    }
    tokenizer = TextTokenizer(
        raw, bos=bos, ends=ends, special_tokens=named, template=chat_template.find_template(folder)
    )
    _probe(tokenizer, folder)
    return tokenizer


def raw_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """The folder's tokenizer as an object of the ``tokenizers`` library.

    A folder with only a sentencepiece model is converted once; that takes transformers,
    sentencepiece and protobuf.

    Raises:
        CheckpointError: there is none, or it needs a package that is not installed.
    """
    from tokenizers import Tokenizer

    path = checkpoint.folder / "tokenizer.json"
    if not path.is_file():
        if not any((checkpoint.folder / name).is_file() for name in PIECES):
            raise CheckpointError(
                f"{checkpoint.folder}: there is no tokenizer. Looked for: tokenizer.json, "
                f"{', '.join(PIECES)}. Copy the tokenizer's files of the model into the folder."
            )
        path = from_pieces(checkpoint)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path}: not a tokenizer that can be read: {error}.") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _special_tokens(folder: Path) -> dict[str, str]:
    """The texts of the special tokens by name, from the folder's files."""
    named: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        saved = model_files.read_json(folder / file)
        for name in _NAMES:
            token = saved.get(name)
            text = token.get("content") if isinstance(token, dict) else token
            if isinstance(text, str):
                named[name] = text
    return named


def _ids(value: Any) -> list[int]:
    """The ids in a configuration's value: one id, a list of ids, or nothing."""
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, int)]


def _probe(tokenizer: TextTokenizer, folder: Path) -> None:
    """Check with a text that there is one BOS and no EOS, and that ``=`` ends a token.

    Raises:
        CheckpointError: one of these does not hold, or the text does not come back unchanged.
    """
    ids = tokenizer.encode(_PROBE)
    begins = 0 if tokenizer.bos is None else 1
    whole = tokenizer.decode(ids).strip() == _PROBE
    # The end of a prompt has to be the end of a token.
    last = tokenizer.decode(ids[-1:]).endswith("=")
    if ids.count(tokenizer.bos) != begins or tokenizer.ends.intersection(ids) or not last:  # type: ignore[arg-type]
        raise CheckpointError(
            f"{folder}: the tokenizer puts special tokens into a plain text. Its tokenizer.json "
            f"does not belong to a causal model, or is damaged."
        )
    if not whole:
        raise CheckpointError(
            f"{folder}: the tokenizer does not give a text back as it was ({_PROBE!r} becomes "
            f"{tokenizer.decode(ids)!r}), so no answer of this model could be read. Check that "
            f"its files are those of the model."
        )
