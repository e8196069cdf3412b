"""The trainer: the loss falls, a seed decides everything, and the folder it writes is usable."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
ctranslate2 = pytest.importorskip("ctranslate2")

from harness.errors import ExperimentError, UsageError  # noqa: E402
from harness.training.batch_stream import BatchStream  # noqa: E402
from harness.training.causal import CausalTrainer, make_causal_tokenizer  # noqa: E402
from harness.training.loop import TrainingReport  # noqa: E402
from harness.training.mixture import samples  # noqa: E402
from harness.training.recipe import CausalRecipe, Course, load_recipe  # noqa: E402
from harness.training.sample_batches import ANSWER, ENGLISH, SampleEncoder  # noqa: E402
from harness.training.schedule import make_optimizers  # noqa: E402
from harness.training.trainers import train  # noqa: E402

SHIPPED = Path(__file__).parents[2] / "harness/training/recipes/tiny-gollie-tf.toml"
TINY = """
kind = "causal"
[model]
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 2
num_attention_heads = 2
[tokenizer]
vocabulary = 700
sentences = 300
[text]
schema = "demo"
languages = { eng = 0.7, yor = 0.3 }
strategies = { direct = 0.5, transfusion = 0.5 }
schema_variants = 0.3
spelled = 0.1
noise = { sentences = 0.5, words = 0.2, names = 0.3 }
[training]
tokens = 30_000
batch_tokens = 1_000
learning_rate = 1e-2
optimizer = "muon"
check_every = 20
shortest = 120
short_share = 0.3
auxiliary = { weight = 0.5, share = 0.5 }
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


def loaded(path: Path) -> CausalRecipe:
    recipe = load_recipe(path)
    assert isinstance(recipe, CausalRecipe)
    return recipe


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_short_training_lowers_the_loss_and_writes_both_forms(
    recipe: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trainer = CausalTrainer(loaded(recipe), seed=1)
    before = trainer.evaluate().loss
    reports: list[TrainingReport] = []
    trainer.run(report=reports.append)
    assert reports[-1].held_out.loss < 0.75 * before
    assert reports[-1].tokens >= 30_000

    folder = tmp_path / "model"
    trainer.save(folder)
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    sample = next(samples(trainer.recipe.text, 5))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(sample.prompt, add_special_tokens=False)["input_ids"]
    assert ids == trainer.tokenizer.encode(sample.prompt, add_special_tokens=False).ids
    assert tokenizer.decode(ids) == sample.prompt

    prompt = [trainer.model.config.bos_token_id, *ids]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    written = model.generate(
        torch.tensor([prompt]), do_sample=False, max_new_tokens=20, eos_token_id=None
    )
    generator = ctranslate2.Generator(str(folder / "ctranslate2"), compute_type="float32")
    result = generator.generate_batch(
        [[trainer.tokenizer.id_to_token(token) for token in prompt]],
        max_length=20,
        include_prompt_in_result=False,
        end_token=[],
    )
    assert result[0].sequences_ids[0] == written[0, len(prompt) :].tolist()


def test_the_same_seed_gives_the_same_weights(recipe: Path) -> None:
    recipe.write_text(TINY.replace("tokens = 30_000", "tokens = 8_000"), encoding="utf-8")

    def weights(seed: int) -> torch.Tensor:
        trainer = CausalTrainer(loaded(recipe), seed)
        trainer.run()
        return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])

    first = weights(1)
    assert torch.equal(first, weights(1))
    assert not torch.equal(first, weights(2))


def test_loss_falls_on_answers_only_and_batches_hold_what_they_may(recipe: Path) -> None:
    plan = loaded(recipe)
    tokenizer = make_causal_tokenizer(plan, 1)
    drawn = list(islice(samples(plan.text, 3), 100))
    for sample, encoded in zip(
        drawn, SampleEncoder(tokenizer, spelled=0.5).encode(drawn, random.Random(1)), strict=True
    ):
        pairs = list(zip(encoded.ids, encoded.kinds, strict=True))
        answer = [token for token, kind in pairs if kind == ANSWER]
        assert tokenizer.decode(answer) == sample.answer
        assert answer[-1] == tokenizer.token_to_id("</s>")
        english = tokenizer.decode([token for token, kind in pairs if kind == ENGLISH])
        if sample.eng_text is None:
            assert english == ""
        else:
            # A token may hold a quote with what is before or behind it.
            assert sample.prompt[slice(*sample.eng_text)] in english
            assert len(english) < len(sample.prompt[slice(*sample.eng_text)]) + 10
        # Words that are spelled out are still the same words.
        assert tokenizer.decode(encoded.ids) == sample.prompt + sample.answer
    batches = BatchStream(
        samples(plan.text, 3), SampleEncoder(tokenizer), tokens=2_000, longest=lambda: 150, seed=3
    )
    for batch in islice(batches, 20):
        assert batch.ids.size <= 2_000
        assert batch.ids.shape[1] <= 150
        assert (batch.ids != 0).sum() == batch.size


def test_matrices_are_made_orthogonal() -> None:
    torch.manual_seed(0)
    course = Course(
        tokens=1, batch_tokens=1, optimizer="muon", matrix_learning_rate=1.0, weight_decay=0.0
    )
    shapes = ((3, 16, 16), (2, 8, 24), (2, 24, 8))
    for gradients in [torch.randn(shape) for shape in shapes]:
        count, rows, columns = gradients.shape
        layers = torch.nn.ModuleList(torch.nn.Linear(columns, rows) for _ in range(count))
        before = [layer.weight.detach().clone() for layer in layers]
        for layer, gradient in zip(layers, gradients, strict=True):
            layer.weight.grad = gradient
        for optimizer in make_optimizers(layers, course):
            optimizer.step()
        # The scale that gives an update the size of one of AdamW's.
        scale = 0.2 * max(rows, columns) ** 0.5
        changes = [
            (old - layer.weight.detach()) / scale for old, layer in zip(before, layers, strict=True)
        ]
        values = torch.linalg.svdvals(torch.stack(changes))
        assert values.min() > 0.5
        assert values.max() < 1.5


def test_the_shipped_recipe_is_understood() -> None:
    recipe = loaded(SHIPPED)
    assert recipe.model.max_position_embeddings >= 1024
    assert set(recipe.text.strategies) == {"direct", "no-annotate", "transfusion"}


def test_the_verb_trains_and_writes_no_folder_twice(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").touch()
    with pytest.raises(UsageError, match="something is there already"):
        train(recipe, out)
    lines: list[str] = []
    short = TINY.replace("tokens = 30_000", "tokens = 2_000")
    recipe.write_text(short, encoding="utf-8")
    train(recipe, tmp_path / "new", say=lines.append)
    assert (tmp_path / "new" / "ctranslate2" / "model.bin").is_file()
    assert lines[-2].startswith("100%")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("hidden_size = 32\n", ""), "hidden_size"),
        (("[text]\n", "[text]\nlangauges = {}\n"), "langauges"),
        (('kind = "causal"', 'kind = "other"'), "causal"),
        (("[model]", "[model"), "Correct the file"),
    ],
)
def test_a_recipe_that_is_wrong_is_one_message(
    recipe: Path, change: tuple[str, str], said: str
) -> None:
    recipe.write_text(TINY.replace(*change), encoding="utf-8")
    with pytest.raises(ExperimentError, match=said):
        load_recipe(recipe)
    with pytest.raises(ExperimentError, match="no such file"):
        load_recipe(recipe.with_name("none.toml"))
