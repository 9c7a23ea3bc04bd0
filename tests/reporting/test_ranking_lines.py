"""Whether the printed order holds in ours: what is claimed from simulated records, and what is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vqbench.planning import loading
from vqbench.planning.overrides import Override
from vqbench.planning.plan import Plan, PlannedRun
from vqbench.reporting.tables import assemble, ranking_lines
from vqbench.reporting.tables.render import render
from vqbench.reporting.tables.stored_runs import StoredRuns
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore

IMAGES = 400
SIGN = {"l1": 1, "ssim": -1, "psnr": -1, "lpips": 1}  # of what is worse
Simulated = Callable[[PlannedRun, str], "NDArray[np.float64] | float | None"]


@pytest.fixture
def plan() -> Plan:
    return loading.load("small_datasets", [])


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path)


def lines_of(plan: Plan, stores: Sequence[ResultStore], protocol: str) -> list[str]:
    return ranking_lines.ranking_lines(StoredRuns(plan, stores), protocol)


def with_seeds(*seeds: int) -> Plan:
    return loading.load("small_datasets", [], [Override("seeds", list(seeds))])


def fill(plan: Plan, store: ResultStore, simulated: Simulated, protocol: str = "official", version: int = 1) -> None:
    """A record of every run of which ``simulated`` gives values: an array over images, or one number."""
    for entry in plan.entries:
        measured = {metric: each for metric in plan.metrics if (each := simulated(entry, metric)) is not None}
        if not measured:
            continue
        values = {m: Value(float(np.mean(each)), version, version, np.size(each)) for m, each in measured.items()}
        store.write(
            Record(
                entry.run,
                {protocol: values},
                {"seconds": 1.0, "device": "cpu", "threads": 1, "versions": {"torch": "2"}},
            )
        )
        arrays = {f"{protocol}/{m}": each for m, each in measured.items() if isinstance(each, np.ndarray)}
        if arrays:
            store.write_images(entry.run, arrays)


def noise(*what: int | str) -> NDArray[np.float64]:
    """Values per image, (IMAGES,), that depend on ``what`` alone."""
    return np.random.default_rng([ord(letter) for letter in str(what)]).normal(0.5, 0.1, IMAGES)


def cvq_ahead_by(gain: float) -> Simulated:
    """All rows have the same values per image, and CVQ-VAE better ones by ``gain`` on every image."""
    return lambda entry, metric: (
        noise(entry.dataset, metric, entry.seed) - SIGN[metric] * gain * (entry.label == "CVQ-VAE")
        if metric in SIGN
        else None
    )


def percentages(lines: Sequence[str]) -> list[float]:
    return [float(share) for line in lines[1:] for share in re.findall(r"in ([\d.]+) %", line)]


def test_better_on_every_image_always_wins(plan: Plan, store: ResultStore) -> None:
    """CVQ-VAE, better on each image by every metric, is ahead of the three others in all resamples, and it holds."""
    fill(plan, store, cvq_ahead_by(1e-3))
    lines = lines_of(plan, [store], "official")
    assert len(lines) == 1 + 2 * 4
    assert percentages(lines) == [100.0] * 2 * 4 * 3
    assert lines[1] == (
        "MNIST, l1: CVQ-VAE is ahead of SQ-VAE in 100.0 % (holds), HVQ-VAE in 100.0 % (holds), VQ-VAE in 100.0 % "
        "(holds); 400 images, one seed: no claim about training."
    )


def test_worse_on_every_image_never_wins(plan: Plan, store: ResultStore) -> None:
    """An order that is turned around on each image is reversed, whichever way the metric is better."""
    fill(plan, store, cvq_ahead_by(-1e-3))
    lines = lines_of(plan, [store], "official")
    assert percentages(lines) == [0.0] * 24
    assert "\n".join(lines[1:]).count("(reversed)") == 24


def test_equals_win_half_of_the_time(plan: Plan, store: ResultStore) -> None:
    """The same values in another order of the images: the means are equal, so about half the resamples, and open."""

    def shuffled(entry: PlannedRun, metric: str) -> NDArray[np.float64] | None:
        return np.random.default_rng(entry.row).permutation(noise(metric)) if metric in SIGN else None

    fill(plan, store, shuffled)
    lines = lines_of(plan, [store], "official")
    assert all(43 < share < 57 for share in percentages(lines))
    assert "\n".join(lines[1:]).count("(open)") == len(percentages(lines)) == 24


def test_images_are_paired(plan: Plan, store: ResultStore) -> None:
    """A gain of a thousandth holds if each image has it, and is open if the images of a row are another sample."""
    fill(plan, store, cvq_ahead_by(1e-3))
    assert min(percentages(lines_of(plan, [store], "official"))) == 100
    fill(plan, store, lambda e, m: noise(m, e.row) - SIGN[m] * 1e-3 * (e.label == "CVQ-VAE") if m in SIGN else None)
    assert min(percentages(lines_of(plan, [store], "official"))) < 97.5


def test_seeds_are_drawn_too(store: ResultStore) -> None:
    """Ahead in two of three seeds, by as much as behind in the third, is ahead in 20 of 27 draws: open, not certain."""
    plan = with_seeds(1, 2, 3)

    def two_of_three(entry: PlannedRun, metric: str) -> NDArray[np.float64] | None:
        gain = 0.1 * (-1 if entry.seed == 3 else 1) * (entry.label == "CVQ-VAE")
        return noise(entry.dataset, metric) - SIGN[metric] * gain if metric in SIGN else None

    fill(plan, store, two_of_three)
    lines = lines_of(plan, [store], "official")
    assert percentages(lines) == [pytest.approx(100 * 20 / 27, abs=4)] * 24
    assert all(line.endswith("400 images, 3 seeds.") for line in lines[1:])
    assert "no claim" not in "".join(lines)
    assert "understated by (n − 1) / n; here n is at most 3" in lines[0]


def test_only_seeds_of_both_rows_count(store: ResultStore) -> None:
    """Rows with other seeds are compared on common seeds; without any, the line says so."""
    plan = with_seeds(1, 2, 3)
    ran = {"CVQ-VAE": (1, 2), "SQ-VAE": (2, 3), "HVQ-VAE": (3,)}
    same = cvq_ahead_by(1e-3)
    fill(plan, store, lambda e, m: same(e, m) if e.dataset == "mnist" and e.seed in ran.get(e.label, ()) else None)
    lines = lines_of(plan, [store], "official")
    assert len(lines) == 1 + 4
    assert lines[1] == (
        "MNIST, l1: CVQ-VAE is ahead of SQ-VAE in 100.0 % (holds); 400 images, one seed: no claim about training; "
        "not run with the same seed: HVQ-VAE; not run: VQ-VAE."
    )


def test_rows_on_other_seeds_have_a_line_of_their_own(store: ResultStore) -> None:
    """No sentence about three seeds covers a row that was trained with one."""
    plan = with_seeds(1, 2, 3)
    same = cvq_ahead_by(1e-3)
    fill(plan, store, lambda e, m: same(e, m) if e.label != "VQ-VAE" or e.seed == 1 else None)
    first, second = lines_of(plan, [store], "official")[1:3]
    assert "SQ-VAE" in first and "HVQ-VAE" in first and first.endswith("3 seeds.")  # noqa: PT018
    assert second.startswith("MNIST, l1: CVQ-VAE is ahead of VQ-VAE")
    assert second.endswith("one seed: no claim about training.")


def test_rfid_is_compared_by_means_and_says_so(store: ResultStore) -> None:
    """A metric without values per image has no percentage: means over seeds, ahead, behind or level."""
    plan = with_seeds(1, 2)
    values = {"CVQ-VAE": 2.0, "SQ-VAE": 3.0, "HVQ-VAE": 1.5, "VQ-VAE": 2.0}
    fill(plan, store, lambda e, m: values[e.label] + 0.5 * (e.seed == 2) if m == "rfid" else None)
    method, line = lines_of(plan, [store], "official")[:2]
    assert line == (
        "MNIST, rFID: CVQ-VAE, 2.25, is ahead of SQ-VAE, 3.25; behind HVQ-VAE, 1.75; level with VQ-VAE, 2.25; "
        "seed means only (no per-image values), 2 seeds."
    )
    assert "resamples" not in method


def test_records_without_values_per_image_are_compared_by_means(plan: Plan, store: ResultStore) -> None:
    """Without the per-image file, means are compared, and the line says so."""
    fill(plan, store, cvq_ahead_by(1e-3))
    for path in store.root.glob("*/per_image.npz"):
        path.unlink()
    lines = lines_of(plan, [store], "official")
    assert percentages(lines) == []
    assert all("seed means only" in line for line in lines[1:])


@pytest.mark.parametrize("paper", [True, False])
def test_a_suite_that_never_ran_claims_nothing(plan: Plan, store: ResultStore, paper: bool) -> None:
    """Without records, the table has no line about an order."""
    assert lines_of(plan, [store], "official") == []
    page = render(assemble.tables(plan, [store], paper), paper=paper)
    assert "printed order" not in page
    assert "ahead" not in page


def test_without_the_papers_best_row_nothing_is_claimed(plan: Plan, store: ResultStore) -> None:
    """If CVQ-VAE was run on MNIST alone, no line is about CIFAR10, however many of the others were run there."""
    same = cvq_ahead_by(1e-3)
    fill(plan, store, lambda e, m: None if (e.dataset, e.label) == ("cifar10", "CVQ-VAE") else same(e, m))
    lines = lines_of(plan, [store], "official")
    assert [line.split(",")[0] for line in lines[1:]] == ["MNIST"] * 4


def test_values_of_another_version_or_protocol_do_not_count(plan: Plan, store: ResultStore) -> None:
    """Values that the table would not show are not compared."""
    fill(plan, store, cvq_ahead_by(1e-3), version=2)
    assert lines_of(plan, [store], "official") == []
    fill(plan, store, cvq_ahead_by(1e-3), protocol="clean")
    assert lines_of(plan, [store], "official") == []
    assert lines_of(plan, [store], "clean")


def test_values_that_are_not_finite_are_named(plan: Plan, store: ResultStore) -> None:
    """The infinite PSNR of one perfect image leaves out that comparison, with the reason, and keeps the others."""
    same = cvq_ahead_by(1e-3)

    def perfect(entry: PlannedRun, metric: str) -> NDArray[np.float64] | float | None:
        each = same(entry, metric)
        if isinstance(each, np.ndarray) and (metric, entry.label) == ("psnr", "SQ-VAE"):
            each[7] = np.inf
        return each

    fill(plan, store, perfect)
    line = next(line for line in lines_of(plan, [store], "official") if line.startswith("MNIST, PSNR"))
    assert line.endswith("; values that are not finite: SQ-VAE.")
    assert percentages(["", line]) == [100.0, 100.0]


def test_values_per_image_belong_to_their_record(plan: Plan, store: ResultStore) -> None:
    """Arrays of another length than the record's number of images are named as damage, and not compared."""
    fill(plan, store, cvq_ahead_by(1e-3))
    store.write_images(plan.entries[0].run, {"official/l1": np.zeros(IMAGES - 1)})
    assert lines_of(plan, [store], "official")
    [damage] = store.damage.values()
    assert re.search(r"per_image\.npz: values of shape \(399,\) for the 400 images", damage)


def test_the_papers_best_is_that_of_the_metric(store: ResultStore) -> None:
    """In B.3 on CIFAR10 the paper's best is row D by l1 and row E by rFID, and the runner-up comes first."""
    plan = loading.load("ablation", [])
    fill(plan, store, lambda e, m: 1.0 + e.row if m in ("l1", "rfid") else None)
    lines = {line.split(":")[0]: line for line in lines_of(plan, [store], "official")}
    assert lines["CIFAR10, l1"].startswith("CIFAR10, l1: D + Anchor initialization (online), 4.0000, is ahead of E + ")
    assert re.findall(r"(?:behind|ahead of) (\w) ", lines["CIFAR10, l1"]) == ["E", "C", "B", "A"]
    assert lines["CIFAR10, rFID"].startswith("CIFAR10, rFID: E + Contrastive loss, 5.00, is behind D + ")


def test_rows_that_are_printed_level_are_not_compared(store: ResultStore) -> None:
    """By SSIM on MNIST, B.4 prints three rows as best; the first of them that ran is compared with the five others."""
    plan = loading.load("anchors", [])
    fill(plan, store, lambda e, m: 0.5 if m == "ssim" and e.dataset == "mnist" else None)
    _, line = lines_of(plan, [store], "official")
    assert line.startswith("MNIST, SSIM: closest (offline), 0.5000, is level with unique (online)")
    assert line.count("level with") == 5
    assert "random (online)" not in line
    assert "probability (online)" not in line


def test_the_cost_is_capped_and_the_resamples_are_stated(
    plan: Plan, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cap on all comparisons together sets the number of resamples, within limits, and it is printed."""
    fill(plan, store, cvq_ahead_by(1e-3))
    asked: list[int] = []

    def spied(a: object, b: object, better: str, resamples: int) -> float:
        asked.append(resamples)
        return 1.0

    monkeypatch.setattr(ranking_lines, "order_verdict", spied)
    for draws, expected in ((300 * 24 * IMAGES, 300), (24 * IMAGES, 200), (10**9, 2000)):
        monkeypatch.setattr(ranking_lines, "DRAWS", draws)
        asked.clear()
        method = lines_of(plan, [store], "official")[0]
        assert f"the share of {expected:,} paired bootstrap resamples" in method
        assert asked == [expected] * 24


def test_the_same_records_give_the_same_lines(plan: Plan, store: ResultStore) -> None:
    """The bootstrap is seeded, so a table can be compared with itself."""
    fill(plan, store, lambda e, m: noise(m, e.row) if m in SIGN else None)
    assert lines_of(plan, [store], "official") == lines_of(plan, [store], "official")


def test_records_are_found_in_any_store(plan: Plan, tmp_path: Path) -> None:
    """Rows with records in different folders are compared as if these were in one."""
    one, other, both = (ResultStore(tmp_path / name) for name in ("one", "other", "both"))
    same = cvq_ahead_by(1e-3)
    fill(plan, one, lambda e, m: same(e, m) if e.label == "CVQ-VAE" else None)
    fill(plan, other, lambda e, m: same(e, m) if e.label != "CVQ-VAE" else None)
    fill(plan, both, same)
    assert lines_of(plan, [one, other], "official") == lines_of(plan, [both], "official") != []


def test_the_lines_stand_below_the_table_with_their_caveat(plan: Plan, store: ResultStore) -> None:
    """With --paper every table has its own lines; those of another protocol say that they are not what was printed."""
    fill(plan, store, cvq_ahead_by(1e-3), protocol="clean")
    official, clean = assemble.tables(plan, [store], paper=True)
    assert not official.footnotes
    assert len(clean.footnotes) == 1 + 8
    assert "Our values are not the printed quantities: measured under clean" in clean.footnotes[0]
    page = " ".join(render(clean, paper=True, all_notes=True).split())
    assert "CIFAR10, PSNR: CVQ-VAE is ahead of SQ-VAE in 100.0 % (holds)" in page
    assert not any(table.footnotes for table in assemble.tables(plan, [store]))


def test_a_reduced_suite_is_no_word_about_the_paper(store: ResultStore) -> None:
    """Lines of a reduced training, measured on the first images alone, say that they are."""
    plan = loading.load("small_datasets", [], reduced={"epochs": 1}, test_images=IMAGES)
    fill(plan, store, cvq_ahead_by(1e-3), protocol=f"official@{IMAGES}")
    table = assemble.tables(plan, [store], paper=True)[0]
    assert (
        "Our values are not the printed quantities: reduced training." in table.footnotes[1]
    )  # after rFID of few images
    assert "400 images" in table.footnotes[2]


def test_a_suite_without_a_printed_table_has_no_order(plan: Plan, store: ResultStore) -> None:
    """A suite without a printed table has no ranking lines."""
    fill(plan, store, cvq_ahead_by(1e-3))
    unprinted = replace(plan, suite=plan.suite.model_copy(update={"paper": None}))
    assert lines_of(unprinted, [store], "official") == []
