"""Folders laid out as the hub lays out GoLLIE-TF and NLLB, at a tiny size with random weights.

Everything is real but the size: sentencepiece vocabularies, the published tokenizer files with
their odd flags, sharded safetensors with an index. Needs torch, transformers, sentencepiece.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

TEXT = """\
# The following lines describe the task definition
@dataclass
class Person(Entity):
    \"\"\"Refers to people, real or invented, by their names.\"\"\"

    span: str  # Such as: "Ada Lovelace", "Wole Soyinka"


@dataclass
class Location(Entity):
    \"\"\"Refers to places: cities, countries, rivers and mountains.\"\"\"

    span: str  # Such as: "Kano", "Lake Victoria"


# This is the text to analyze
text = "Wole Soyinka alizaliwa Abeokuta, Nigeria."

# This is the English translation of the text
eng_text = "Wole Soyinka was born in Abeokuta, Nigeria."

# Using translation and fusion
# (1) generate annotation for eng_text
# (2) generate annotation for text

# The annotation instances that take place in the eng_text above are listed here
result = [
    Person(span="Wole Soyinka"),
    Location(span="Abeokuta"),
]

# The annotation instances that take place in the text above are listed here
final_result = []
"""
#: The beginning that the prompts of one system share; :func:`prompt` completes it.
SHARED = TEXT[: TEXT.index("Wole Soyinka alizaliwa")]


def prompt(sentence: str) -> str:
    """A plain prompt in the published format."""
    return (
        f'{SHARED}{sentence}"\n\n# The annotation instances that take place in the text above are '
        "listed here\nresult ="
    )


@cache
def _sentencepiece(size: int, *, byte_fallback: bool) -> bytes:
    """A sentencepiece BPE model of about ``size`` pieces, trained as Llama's and NLLB's were."""
    import sentencepiece

    with TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus.txt")
        corpus.write_text(TEXT * 4, "utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus),
            model_prefix=str(Path(folder, "pieces")),
            model_type="bpe",
            vocab_size=size,
            byte_fallback=byte_fallback,
            character_coverage=1.0,
            split_digits=True,
            normalization_rule_name="identity" if byte_fallback else "nmt_nfkc",
            remove_extra_whitespaces=not byte_fallback,
            allow_whitespace_only_pieces=byte_fallback,
            hard_vocab_limit=False,
            minloglevel=2,
            num_threads=1,
            pad_id=-1,
        )
        return Path(folder, "pieces.model").read_bytes()


def llama(
    folder: Path,
    *,
    seed: int = 0,
    context: int = 2048,
    dtype: str = "float32",
    tokenizer: str = "both",
    chain: Sequence[int] = (),
    **config: Any,
) -> Path:
    """A tiny GoLLIE-TF: random weights in shards, Code-LLaMA's tokenizer files.

    ``tokenizer`` is ``both``, ``json`` (no ``tokenizer.model``) or ``model`` (that file alone).
    With a ``chain`` of token ids the model is no random one: after each id of the chain it
    writes the next one, whatever came before (no id may be in the chain twice but as its end).
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    pieces = _sentencepiece(420, byte_fallback=True)
    _llama_tokenizer(folder, pieces, tokenizer)
    vocabulary = 448  # more than there are pieces, as padded vocabularies are
    shape = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.5,
    }
    if chain:
        shape |= {"hidden_size": vocabulary, "num_hidden_layers": 1}
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            **(
                {
                    "vocab_size": vocabulary,
                    "max_position_embeddings": context,
                    "rope_theta": 1_000_000.0,
                    "bos_token_id": 1,
                    "eos_token_id": 2,
                    "tie_word_embeddings": False,
                }
                | shape
                | config
            )
        )
    )
    if chain:
        _write_chain(model, chain)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2)
    model = model.to(getattr(torch, dtype))
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    model.save_pretrained(folder, max_shard_size=size // 3)
    return folder


def _write_chain(model: Any, chain: Sequence[int]) -> None:
    """Weights with which the last token alone decides the next one."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
                weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(model.config.vocab_size))
        for here, there in pairwise(chain):
            model.lm_head.weight[there, here] = 1.0


def _llama_tokenizer(folder: Path, pieces: bytes, which: str) -> None:
    (folder / "tokenizer.model").write_bytes(pieces)
    # As GoLLIE's was saved: some versions of the library honour add_eos_token, some do not.
    flags = {
        "add_bos_token": True,
        "add_eos_token": True,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "</s>",
        "legacy": True,
        "model_max_length": 1000000000000000019884624838656,
        "padding_side": "left",
        "tokenizer_class": "LlamaTokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(flags))
    if which != "model":
        _fast(pieces).save(str(folder / "tokenizer.json"))
    if which == "json":
        (folder / "tokenizer.model").unlink()


def _fast(pieces: bytes) -> Any:
    """The published tokenizer.json of a Llama, which adds both BOS and EOS."""
    import sentencepiece
    from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
    from tokenizers.models import BPE

    model = sentencepiece.SentencePieceProcessor(model_proto=pieces)
    vocabulary = {model.id_to_piece(i): i for i in range(len(model))}
    # The better piece of two is merged first, and sentencepiece has put those first.
    merges = [
        (piece[:cut], piece[cut:])
        for piece in vocabulary
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    fast = Tokenizer(BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    fast.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    fast.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    for token in ("<unk>", "<s>", "</s>"):
        fast.add_special_tokens([AddedToken(token, normalized=False, special=True)])
    fast.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return fast


def nllb(folder: Path, *, seed: int = 0, tokenizer: str = "json", **config: Any) -> Path:
    """A tiny NLLB: random weights, the published language codes in the published order.

    ``tokenizer`` is ``json`` (``tokenizer.json`` alone) or ``model`` (sentencepiece alone).
    """
    import torch
    from transformers import GenerationConfig, M2M100Config, M2M100ForConditionalGeneration
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    folder.mkdir(parents=True, exist_ok=True)
    pieces = _sentencepiece(300, byte_fallback=False)
    count = _nllb_tokenizer(folder, pieces, tokenizer, FAIRSEQ_LANGUAGE_CODES)
    torch.manual_seed(seed)
    model = M2M100ForConditionalGeneration(
        M2M100Config(
            **(
                {
                    "vocab_size": count,
                    "d_model": 32,
                    "encoder_layers": 2,
                    "decoder_layers": 2,
                    "encoder_attention_heads": 4,
                    "decoder_attention_heads": 4,
                    "encoder_ffn_dim": 64,
                    "decoder_ffn_dim": 64,
                    "max_position_embeddings": 1024,
                    "scale_embedding": True,
                    "init_std": 0.5,
                    "decoder_start_token_id": 2,
                }
                | config
            )
        )
    )
    model.generation_config = GenerationConfig(
        bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, max_length=200
    )
    model.save_pretrained(folder)
    return folder


def _nllb_tokenizer(folder: Path, pieces: bytes, which: str, codes: Sequence[str]) -> int:
    """Writes the files; returns the size of the vocabulary."""
    import sentencepiece
    from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import BPE

    model = sentencepiece.SentencePieceProcessor(model_proto=pieces)
    # fairseq's four special tokens stand for sentencepiece's three: all others move by one.
    names = ["<s>", "<pad>", "</s>", "<unk>", *map(model.id_to_piece, range(3, len(model)))]
    vocabulary = {name: i for i, name in enumerate(names)}
    if which == "model":
        (folder / "sentencepiece.bpe.model").write_bytes(pieces)
    else:
        merges = [
            (piece[:cut], piece[cut:])
            for piece in names[4:]
            for cut in range(1, len(piece))
            if piece[:cut] in vocabulary and piece[cut:] in vocabulary
        ]
        fast = Tokenizer(BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True))
        fast.normalizer = normalizers.NFKC()
        fast.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
        fast.decoder = decoders.Metaspace("▁", prepend_scheme="always")
        fast.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", *codes])
        fast.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=True)])
        fast.post_processor = processors.TemplateProcessing(
            single="eng_Latn $A </s>",
            special_tokens=[
                ("eng_Latn", len(names) + list(codes).index("eng_Latn")),
                ("</s>", 2),
            ],
        )
        fast.save(str(folder / "tokenizer.json"))
    flags = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
        "src_lang": None,
        "tokenizer_class": "NllbTokenizer",
        "additional_special_tokens": list(codes),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(flags))
    return len(names) + len(codes) + 1
