"""Check what a recipe says of itself: arguments, updates, images, summary."""

from __future__ import annotations

import inspect
import json
import math
import tempfile
from pathlib import Path

from vqbench.conformance.declarations import require_arguments, require_documented
from vqbench.conformance.outcome import Check, Fail, Warn
from vqbench.conformance.recipes.case import CheckedImages, RecipeCase

COUNTS = CheckedImages.counts


def recipe_arguments(case: RecipeCase) -> None:
    """All arguments are named and annotated; ``reducible`` and others name some.

    The class has a docstring.
    """
    require_arguments(case, defaults=False)
    require_documented(case)
    taken = inspect.signature(case.cls).parameters
    for attribute in ("scaling", "LATER"):
        named = vars(case.cls).get(attribute, ())  # inherited ones may be arguments of the base alone
        if unknown := [name for name in named if name not in taken]:
            raise Fail(f"`{attribute}` names {', '.join(unknown)}", "name arguments of the constructor")
    if not isinstance(case.build().about(), str):
        raise Fail(f"about() returns {case.build().about()!r}", 'return a text such as "2 epochs, batch 64"')


def facts_agree(case: RecipeCase) -> None:
    """Images, updates and images shown are numbers that the training keeps to.

    Progress counts every update once, up to the number in all.
    """
    recipe = case.build()
    if wrong := recipe.misfit(COUNTS["train"], COUNTS["test"], CheckedImages.holdout, CheckedImages.size):
        raise Fail(
            f"it refuses {COUNTS['train']} images of {CheckedImages.size} pixels: {wrong}",
            "declare check_args that fit them, such as a small batch_size",
        )
    images = recipe.images(COUNTS["train"], CheckedImages.holdout)
    if not 1 <= images <= COUNTS["train"]:
        raise Fail(f"images() says {images} of {COUNTS['train']}", "return how many training images it learns from")
    updates, shown = recipe.updates(images), recipe.images_shown(images)
    with tempfile.TemporaryDirectory() as folder:
        trace = case.train(Path(folder))
    done = [each for each, _ in trace.progress]
    totals = {total for _, total in trace.progress}
    if done != list(range(1, len(done) + 1)) or totals != {len(done)}:
        raise Fail(
            f"progress() was called with {trace.progress[:3]} ... {trace.progress[-1:]}",
            "call task.progress(done, total) after every update, up to done == total",
        )
    if updates is None or shown is None:
        raise Warn("updates() or images_shown() is unknown, so plans and tables show no cost")
    if updates != len(done):
        raise Fail(f"updates() says {updates}, the training did {len(done)}", "correct updates()")
    if shown < updates:
        raise Fail(f"images_shown() says {shown} in {updates} updates", "count each image as often as it occurs")


def small_data_are_refused(case: RecipeCase) -> None:
    """``misfit`` accepts or refuses any size of data with a sentence."""
    recipe = case.build()
    for sizes in ((0, 0, 0, 1), (1, 1, 0, 1), (2, 1, 1, 8), (10**6, 10**5, 10**4, 256)):
        answer = recipe.misfit(*sizes)
        if answer is not None and not (isinstance(answer, str) and answer.strip()):
            raise Fail(f"misfit{sizes} returns {answer!r}", "return a sentence on what would work, or None")


def history_is_complete(case: RecipeCase) -> None:
    """The history has one plain mapping per epoch, which on_epoch got as well.

    Seconds and losses are finite.
    """
    with tempfile.TemporaryDirectory() as folder:
        trace = case.train(Path(folder))
    history = trace.trained.history
    if not history:
        raise Fail("the history is empty", "append a mapping for each epoch, with the epoch's number and mean losses")
    if list(map(dict, trace.epochs)) != list(map(dict, history)):
        raise Fail("on_epoch() got other entries than the history has", "call it with each entry once")
    try:
        json.dumps(history, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Fail(f"the history has no form in JSON: {error}", "use numbers, texts and None") from error
    if [entry.get("epoch") for entry in history] != list(range(1, len(history) + 1)):
        raise Fail("entries do not count their epochs from 1", 'give each entry its number: {"epoch": 1, ...}')
    if not (math.isfinite(trace.trained.seconds) and trace.trained.seconds > 0):
        raise Fail(f"seconds is {trace.trained.seconds}", "add up the time spent in training, over all restarts")


CHECKS = (
    Check(recipe_arguments),
    Check(facts_agree),
    Check(small_data_are_refused),
    Check(history_is_complete),
)
