"""Training from a recipe file to a model folder, for each kind of recipe."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.errors import UnknownNameError, UsageError, unknown_name_message
from harness.training.loop import Trainer, TrainingReport
from harness.training.recipe import CausalRecipe, TranslatorRecipe, load_recipe

_RECIPES = Path(__file__).parent / "recipes"
# What both trainers learn from. The wheel does not have it.
_SYNTHETIC_TEXT = "harness.training.synthetic"
_NEEDED = ("torch", "transformers", "ctranslate2", "tokenizers")


def train(
    recipe: str | Path,
    out: Path,
    *,
    seed: int = 1,
    say: Callable[[str], object] = lambda line: None,
) -> None:
    """Train what the recipe describes and write it to ``out``; ``say`` gets lines on its progress.

    ``recipe`` is a file, or the name of a model that ships.

    Raises:
        UnknownNameError: no such file, and no model of that name ships.
        ExperimentError: the recipe is not understood.
        UsageError: ``out`` is there already and holds something, or a package is missing,
            or the synthetic text is, as it is in an installed wheel.
    """
    file = _find(recipe)
    plan = load_recipe(file)
    if find_spec(_SYNTHETIC_TEXT) is None:
        raise UsageError(
            "The text of the models that ship is in the source checkout only, and this is an "
            "installed package without it. Run 'harness train' from a checkout of the repository."
        )
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise UsageError(
            f"Training needs {', '.join(missing)}: pip install 'transfusion-harness[torch]'."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: something is there already. Name a new folder with --out.")

    def report(state: TrainingReport) -> None:
        share = min(state.tokens / plan.training.tokens, 1)
        say(
            f"{share:4.0%}  step {state.step}  {state.tokens / state.seconds:,.0f} tokens/s  "
            f"loss {state.loss:.3f}  held out: loss {state.held_out.loss:.3f}, "
            f"{state.held_out.right:.1%} of answers all right"
        )

    trainer = _trainer(plan, seed)
    count = sum(parameter.numel() for parameter in trainer.model.parameters())
    say(f"{file.stem}, seed {seed}: {count:,} parameters, {plan.training.tokens:,} tokens.")
    trainer.run(report=report)
    trainer.save(out)
    say(f"Written to {out}.")


def _find(recipe: str | Path) -> Path:
    if Path(recipe).is_file():
        return Path(recipe)
    shipped = {path.stem: path for path in _RECIPES.glob("*.toml")}
    if str(recipe) not in shipped:
        raise UnknownNameError(
            unknown_name_message("recipe", str(recipe), sorted(shipped))
            + " Or give the path of a TOML file."
        )
    return shipped[str(recipe)]


def _trainer(plan: CausalRecipe | TranslatorRecipe, seed: int) -> Trainer[Any]:
    if isinstance(plan, CausalRecipe):
        from harness.training.causal import CausalTrainer

        return CausalTrainer(plan, seed)
    from harness.training.translator import TranslatorTrainer

    return TranslatorTrainer(plan, seed)
