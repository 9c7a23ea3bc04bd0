"""How long runs train, as their recipes say it themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vqbench import registry

if TYPE_CHECKING:
    from vqbench.planning.plan import DatasetInfo
    from vqbench.recipe import Recipe
    from vqbench.spec import PluginSpec


@dataclass(frozen=True)
class Length:
    """The training of one run. None where its recipe cannot say beforehand."""

    updates: int | None = None  # of the optimizer
    shown: int | None = None  # images in all updates, each counted as often as it is shown
    about: str = ""  # for how long and how fast, as a table says it


def length(recipe: PluginSpec, data: DatasetInfo) -> Length:
    """How long ``recipe`` trains on a data set of this size.

    Raises BrokenPlugin for a recipe that fails or answers wrongly.
    """
    made: Recipe = registry.create("recipes", recipe.name, **recipe.args)
    with registry.contained("recipes", recipe.name):
        images = made.images(data.train, data.holdout)
        found = Length(made.updates(images), made.images_shown(images), made.about() or _all(recipe))
        for count in (images, found.updates, found.shown):
            if count is not None and type(count) is not int:
                raise TypeError(f"a number of images or updates is {count!r}, no whole number")
    return found


def _all(recipe: PluginSpec) -> str:
    """The arguments, for a recipe that says nothing of itself."""
    return ", ".join(f"{name} {value}" for name, value in recipe.args.items() if value is not None)
