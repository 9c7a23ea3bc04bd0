"""Explain values of images and of trained runs by settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vqbench.api.measure_models import ModelOptions
    from vqbench.evaluation.explaining.protocol_differences import Explanation
    from vqbench.evaluation.explaining.target import TargetSearch
    from vqbench.evaluation.explaining.values import ExplainedImages
    from vqbench.evaluation.trained_model import TrainedModel
    from vqbench.measuring.pair_inputs import ReadingOptions

Progress = Callable[[int, int], None]


def _silent(sentence: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class ExplainOptions:
    """How values are explained, whatever they are of.

    Attributes:
        start: Name of the protocol to begin under, of vqbench or another tool; settings may follow it, as in
            ``clean+jpeg=75``.
        end: Name of the protocol to end under, likewise.
        metrics: Names, and one group at most (fast, paper, all); empty: fast, those that need no network.
        steps_only: Change settings one after the other, none alone.
        device: Where metrics compute.
        progress: Called with the images done and in all, counted once for each setting; may raise Interrupted.
        say: Receives what the computation costs, before it begins, and how images are read.
    """

    start: str = "official"
    end: str = "clean"
    metrics: Sequence[str] = ()
    steps_only: bool = False
    device: str = "cpu"
    progress: Progress = lambda done, total: None
    say: Callable[[str], None] = field(default=_silent)


def explain_images(images: ExplainedImages, options: ExplainOptions) -> Explanation:
    """Change one setting after the other from ``options.start`` to ``options.end``.

    Raises:
        UsageError: Unknown names; metrics that pairs of images do not have.
        AssetError: Weights that cannot be fetched; damaged images.
        RunError: Images that are too few or too small for a metric.
    """
    from vqbench.evaluation.explaining import image_explanation
    from vqbench.execution.preparation import fetch
    from vqbench.training.engine import Engine

    plan = image_explanation.plan_of(
        images.facts, options.start, options.end, options.metrics, fetch, options.steps_only
    )
    device = Engine(options.device).device
    return image_explanation.explained(plan, images, device, options.progress, options.say)


def search_target(images: ExplainedImages, text: str, options: ExplainOptions, pairs: bool = True) -> TargetSearch:
    """Find the settings that print a number such as ``psnr=29.62``.

    They are tried alone, then in ``pairs``. ``options.start`` is the protocol to begin under. Raises as
    :func:`explain_images`.
    """
    from vqbench.evaluation.explaining import image_explanation
    from vqbench.evaluation.explaining.named_conditions import named_conditions
    from vqbench.evaluation.explaining.target import Target, target_plan
    from vqbench.execution.preparation import fetch
    from vqbench.training.engine import Engine

    target = Target.parse(text)
    plan = target_plan(target, named_conditions(options.start, images.facts), images.facts, fetch)
    device = Engine(options.device).device
    return image_explanation.searched(plan, images, device, options.progress, options.say, pairs)


def explained_pairs(
    originals: Path,
    reconstructions: Path,
    other_reference: Path | None = None,
    limit: int | None = None,
    reading: ReadingOptions | None = None,
    say: Callable[[str], None] = _silent,
) -> ExplainedImages:
    """Open images of any kind that ``vqbench measure`` reads, to be explained.

    Raises UsageError for inputs that do not fit together, AssetError for files that cannot be read.
    """
    from vqbench.measuring.explained_pairs import ExplainedPairs

    pairs = ExplainedPairs(originals, reconstructions, other_reference, limit, reading)
    for sentence in pairs.notes():
        say(sentence)
    return pairs


def explained_model(
    originals: Path | None,
    model: ModelOptions,
    other_reference: Path | None = None,
    limit: int | None = None,
    reading: ReadingOptions | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = _silent,
) -> ExplainedImages:
    """Open images and the model that reconstructs them, to be explained.

    See :func:`vqbench.api.measure_models.measure_model` for what is read and raised.
    """
    from vqbench.api.measure_models import opened_model
    from vqbench.measuring.models.explained_model import ExplainedModel

    pairs = ExplainedModel(opened_model(originals, model, options=reading, device=device), other_reference, limit)
    for sentence in pairs.notes():
        say(sentence)
    return pairs


def explain_run(trained: TrainedModel, options: ExplainOptions, test_images: int | None = None) -> Explanation:
    """Change one setting after the other, on test images of a trained run.

    These are the first ``test_images``, all for None. Raises UsageError for unknown names, AssetError for weights that
    cannot be fetched.
    """
    from vqbench.evaluation.explaining import trained_run
    from vqbench.execution.preparation import fetch

    return trained_run.explain(
        trained.run,
        trained.model,
        trained.dataset,
        trained.engine.device,
        options.metrics,
        test_images,
        start=options.start,
        end=options.end,
        steps_only=options.steps_only,
        fetch=fetch,
        on_progress=options.progress,
        say=options.say,
    )
