"""The contract of a recipe: its own facts, so that planner, tables and workers read no argument names."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from vqbench import registry
from vqbench.recipe import Recipe, SecondStage, Task, Trained

BUILT_IN: list[Any] = [registry.load("recipes", name) for name in registry.names("recipes")]


class Stranger(Recipe):
    """A recipe that reports no facts."""

    def fit(self, task: Task) -> Trained:
        return Trained(0.0)


@pytest.mark.parametrize("recipe", BUILT_IN, ids=lambda each: each.__name__)
def test_the_arguments_that_a_recipe_names_are_its_own(recipe: Any) -> None:
    """Reduced copies and forecasts never pass an argument that the constructor lacks."""
    assert {*recipe.reducible, *recipe.scaling} <= inspect.signature(recipe).parameters.keys()
    assert recipe.second_stage == issubclass(recipe, SecondStage)


def test_a_recipe_that_says_nothing_has_sound_defaults() -> None:
    """By default a recipe trains first stages in float32 on all images, for an unknown number of updates."""
    recipe = Stranger()
    assert (recipe.second_stage, recipe.precision, recipe.scaling) == (False, "float32", ())
    assert (recipe.images(100, 10), recipe.updates(100), recipe.images_shown(100), recipe.about()) == (
        100,
        None,
        None,
        "",
    )


def test_a_second_stage_says_which_images_it_learned_from() -> None:
    """Subset and mirror images are attributes under these names, whatever the arguments are called."""
    prior: Any = registry.create("recipes", "autoregressive", steps=2, flips=True, subset=64)
    assert (prior.subset, prior.mirrored) == (64, True)
    assert (SecondStage.subset, SecondStage.mirrored) == (None, False)
