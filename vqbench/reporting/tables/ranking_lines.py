"""Say below a table whether the order that the paper prints holds in ours.

With values per image, the answer is the share of paired bootstrap resamples in which the paper's best row is ahead of
the other one; without them, only means over seeds are compared. With one seed, an answer compares two trained models
and says nothing about the training methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Literal, cast

from vqbench.planning.plan import Plan
from vqbench.reporting import statistics
from vqbench.reporting.tables.ranking_checks import Pair, RankingCheck, ranking_checks
from vqbench.reporting.tables.stored_runs import StoredRuns
from vqbench.reporting.verdict import order_verdict

HOLDS = 0.975  # the share from which an order holds; it is reversed up to 1 − HOLDS, and open between
RESAMPLES = (200, 2000)  # at least and at most
DRAWS = 100_000_000  # images drawn for all comparisons of a table, which take 1 to 2 seconds


def ranking_lines(stored: StoredRuns, protocol: str, caveat: str = "") -> list[str]:
    """Return a sentence on the method, then one per data set and metric compared.

    Only values under ``protocol`` count. ``caveat`` says why these are not the printed quantities, if they are not.
    Empty where nothing can be compared.
    """
    checks = ranking_checks(stored, protocol)
    if not checks:
        return []
    pairs = [pair for check in checks for pair in check.pairs]
    resamples = _resamples(pairs)
    lines = [line for check in checks for line in _lines(stored.plan, check, resamples)]
    return [_method(resamples, max(len(pair.seeds) for pair in pairs), caveat), *lines]


def _resamples(pairs: Sequence[Pair]) -> int:
    """Return the resamples that :data:`DRAWS` allows; 0 without values per image."""
    count = sum(pair.a.shape[1] for pair in pairs if pair.by_image)
    least, most = RESAMPLES
    return max(least, min(most, DRAWS // count)) if count else 0


def _method(resamples: int, seeds: int, caveat: str) -> str:
    sentences = ["Does the printed order hold? The paper's best row is compared with each row that it prints as worse."]
    if resamples:
        sentences.append(
            f"Percentages: the share of {resamples:,} paired bootstrap resamples (same images and seeds for both "
            f"rows) in which it is ahead in ours; the order holds from {100 * HOLDS:g} %, is reversed up to "
            f"{100 - 100 * HOLDS:g} % and open between; not corrected for multiple comparisons."
        )
    if resamples and seeds > 1:
        sentences.append(
            f"With n seeds, seed-to-seed variation is understated by (n − 1) / n; here n is at most {seeds}."
        )
    if caveat:
        sentences.append(f"Our values are not the printed quantities: {caveat}.")
    return " ".join(sentences)


def _lines(plan: Plan, check: RankingCheck, resamples: int) -> list[str]:
    """Return one line per basis: several where rows lack a seed or values per image."""
    where = f"{plan.datasets[check.dataset].title}, {plan.metrics[check.metric].label}"
    better = cast(Literal["min", "max"], plan.metrics[check.metric].better)
    lines = []
    for (by_image, count, seeds), same in groupby(check.pairs, key=lambda pair: pair.basis):
        pairs = list(same)
        if by_image:
            answer = _by_image(pairs, better, resamples)
            basis = f"{count:,} images"
        else:
            answer = _by_means(pairs, better, plan.metrics[check.metric].digits)
            basis = "seed means only (no per-image values)"
        lines.append(f"{where}: {answer}; {basis}, {_about(len(seeds))}")
    if check.not_compared:
        lines[-1] += "; " + "; ".join(f"{reason}: {name}" for reason, name in check.not_compared)
    return [f"{line}." for line in lines]


def _about(seeds: int) -> str:
    return "one seed: no claim about training" if seeds == 1 else f"{seeds} seeds"


def _by_image(pairs: Sequence[Pair], better: Literal["min", "max"], resamples: int) -> str:
    answers = []
    for pair in pairs:
        share = order_verdict(pair.a, pair.b, better, resamples)
        answers.append(f"{pair.other} in {100 * share:.1f} % ({_word(share)})")
    return f"{pairs[0].best} is ahead of {', '.join(answers)}"


def _word(share: float) -> str:
    if share >= HOLDS:
        return "holds"
    return "reversed" if share <= 1 - HOLDS else "open"


def _by_means(pairs: Sequence[Pair], better: Literal["min", "max"], digits: int) -> str:
    ours = statistics.mean(list(pairs[0].a[:, 0]))  # all pairs have the same seeds
    answers = []
    for pair in pairs:
        theirs = statistics.mean(list(pair.b[:, 0]))
        gain = theirs - ours if better == "min" else ours - theirs
        place = "level with" if gain == 0 else "ahead of" if gain > 0 else "behind"
        answers.append(f"{place} {pair.other}, {theirs:.{digits}f}")
    return f"{pairs[0].best}, {ours:.{digits}f}, is {'; '.join(answers)}"
