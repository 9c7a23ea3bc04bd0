"""Means, intervals, paired comparisons and corrections against closed forms and simulations with a known answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vqbench.errors import UsageError
from vqbench.reporting import statistics
from vqbench.reporting.verdict import order_verdict


def test_mean_and_deviation_follow_their_formulas():
    """The mean divides by n and the deviation by n − 1."""
    assert statistics.mean([1.0, 2.0, 6.0]) == 3.0
    assert statistics.deviation([1.0, 2.0, 6.0]) == pytest.approx(math.sqrt((4 + 1 + 9) / 2))


def test_one_seed_has_no_deviation():
    """One value has no spread, not even zero."""
    assert statistics.deviation([0.5]) is None


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_values_that_are_not_finite_have_no_deviation(bad):
    """An infinite PSNR has a mean but no spread."""
    assert statistics.deviation([bad, 1.0]) is None
    assert statistics.mean([bad, 1.0]) == bad or math.isnan(bad)


def test_t_interval_is_the_closed_form():
    """Of the values 1 and 3 the interval is 2 ± 12.7062, and for more it is scipy's."""
    assert statistics.t_interval([1.0, 3.0]) == pytest.approx((2 - 12.706205, 2 + 12.706205), abs=1e-5)
    values = [1.0, 1.5, 3.0, 2.2]
    expected = stats.t.interval(0.9, 3, np.mean(values), stats.sem(values))
    assert statistics.t_interval(values, 0.9) == pytest.approx(expected)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_t_interval_covers_the_truth_as_often_as_it_says(seeds):
    """Of 2,000 sets of normal seeds, 95 % of the intervals hold the true mean, for as few as two seeds."""
    draws = np.random.default_rng(seeds).normal(7.0, 0.3, size=(2000, seeds))
    intervals = np.array([statistics.t_interval(list(row)) for row in draws])
    covered = np.mean((intervals[:, 0] <= 7.0) & (intervals[:, 1] >= 7.0))
    assert covered == pytest.approx(0.95, abs=0.015)  # three standard errors


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.inf]])
def test_t_interval_refuses_what_has_none(values):
    """Fewer than two finite values have no interval, and the error says so."""
    with pytest.raises(UsageError, match="two or more finite"):
        statistics.t_interval(values)


def test_paired_bootstrap_agrees_with_the_normal_approximation():
    """For one seed and many images, the share is Φ(mean / standard error) of the differences of the pairs."""
    rng = np.random.default_rng(1)
    a = rng.normal(size=2000)
    b = a + rng.normal(0.02, 0.5, size=2000)
    gaps = b - a
    expected = stats.norm.cdf(gaps.mean() / (gaps.std() / math.sqrt(len(gaps))))
    assert 0.6 < expected < 0.99
    assert statistics.paired_bootstrap(a, b, "min", resamples=4000).share == pytest.approx(expected, abs=0.03)


def test_bootstrap_interval_covers_the_true_difference():
    """Of 300 pairs of methods whose difference is known, about 95 % of the intervals hold it."""
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        hardness = rng.normal(0, 5, size=150)  # common to both methods; cancels only where pairs are kept
        a, b = hardness + rng.normal(0.3, 1, size=150), hardness + rng.normal(0, 1, size=150)
        result = statistics.paired_bootstrap(a, b, "max", resamples=300)
        covered += result.low <= 0.3 <= result.high
    assert covered / 300 == pytest.approx(0.95, abs=0.04)


def test_pairing_removes_what_both_share():
    """A difference far below the spread of the images is seen, because each image is compared with itself."""
    rng = np.random.default_rng(3)
    images = rng.normal(0, 10, size=(3, 500))
    assert order_verdict(images - 0.01, images, "min") == 1.0
    assert order_verdict(images - 0.01, images, "max") == 0.0


def test_seeds_are_resampled_too():
    """A method that wins with two seeds and loses as much with the third does not win in every resample."""
    better, worse = np.full(100, -1.0), np.full(100, 1.0)
    share = order_verdict(np.stack([better, better, worse]), np.zeros((3, 100)), "min", resamples=8000)
    # It wins where at most one of three seeds drawn is the bad one: (2/3)^3 + 3 (1/3) (2/3)^2 = 20/27.
    assert share == pytest.approx(20 / 27, abs=0.02)


def test_different_numbers_of_seeds_are_drawn_independently():
    """Two seeds of one method can be compared with three of another, on the same images."""
    result = statistics.paired_bootstrap(np.full((2, 50), 1.0), np.full((3, 50), 3.0), "min")
    assert (result.difference, result.low, result.high, result.share) == (-2.0, -2.0, -2.0, 1.0)


def test_a_method_against_itself_is_even():
    """Ties count one half, so equal methods get one half and not a victory."""
    values = np.random.default_rng(4).normal(size=(2, 30))
    result = statistics.paired_bootstrap(values, values, "max")
    assert result.share == 0.5
    assert result.p_value == 1.0


def test_p_value_is_never_zero_and_two_sided():
    """With R resamples the smallest p-value is 2 / (R + 1), whichever of the two wins."""
    always = statistics.paired_bootstrap([0.0, 0.0], [1.0, 1.0], "min", resamples=99)
    never = statistics.paired_bootstrap([1.0, 1.0], [0.0, 0.0], "min", resamples=99)
    assert always.p_value == never.p_value == pytest.approx(2 / 100)


def test_bootstrap_gives_the_same_answer_again():
    """The same data and seed give the same numbers, and another seed others."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 400)), rng.normal(size=(2, 400))
    assert statistics.paired_bootstrap(a, b, "min") == statistics.paired_bootstrap(a, b, "min")
    assert statistics.paired_bootstrap(a, b, "min", seed=1) != statistics.paired_bootstrap(a, b, "min")


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 4)), "same images: a has 3, b has 4"),
        (np.zeros((2, 0)), np.zeros((2, 0)), "at least one of each"),
        (np.zeros((1, 2, 3)), np.zeros((2, 3)), r"\(1, 2, 3\)"),
        ([math.inf, 1.0], [0.0, 1.0], "not finite"),
    ],
)
def test_bootstrap_refuses_what_cannot_be_paired(a, b, message):
    """Other images, no images, a third axis and infinite values have one error message each."""
    with pytest.raises(UsageError, match=message):
        statistics.paired_bootstrap(a, b, "min")


def test_holm_is_the_textbook_example():
    """0.01, 0.04, 0.03, 0.005 become 0.03, 0.06, 0.06, 0.02."""
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([]) == []


def test_holm_keeps_the_chance_of_any_error():
    """Over 3,000 tables of ten true null hypotheses, at most 5 % have a rejection, where uncorrected 40 % have."""
    tables = np.random.default_rng(6).uniform(size=(3000, 10))
    corrected = np.mean([min(statistics.holm(list(row))) < 0.05 for row in tables])
    assert corrected == pytest.approx(1 - (1 - 0.005) ** 10, abs=0.012)
    assert np.mean(tables.min(axis=1) < 0.05) > 0.35


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_never_lowers_a_p_value_and_keeps_the_order(p_values):
    """An adjusted value lies between the raw one and one, and a smaller raw value stays no larger."""
    adjusted = statistics.holm(p_values)
    assert all(raw <= new <= 1 for raw, new in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert list(np.array(adjusted)[order]) == sorted(adjusted)


def test_holm_refuses_what_is_no_p_value():
    """A value outside of [0, 1], or not a number, is an error and not silently clipped."""
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(UsageError, match="between 0 and 1"):
            statistics.holm([0.5, bad])


def test_paired_test_with_one_seed_is_the_paired_t_test():
    """Over images alone, and over seeds alone, difference, interval and p-value are those of scipy's paired test."""
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=40), rng.normal(0.3, size=40)
    expected = stats.ttest_rel(a, b)
    for shape in ((1, 40), (40, 1)):
        result = statistics.paired_test(a.reshape(shape), b.reshape(shape))
        interval = expected.confidence_interval()
        assert (result.low, result.high) == pytest.approx((interval.low, interval.high))
        assert result.p_value == pytest.approx(expected.pvalue)
        assert (result.seeds, result.images) == shape


def test_paired_test_over_both_is_min_f():
    """With three seeds and four images, t² is min F′ = F1·F2 / (F1 + F2) of the two tests' F, as Clark has it."""
    gaps = np.random.default_rng(9).normal(1.0, 1.0, size=(3, 4)) + np.array([[0.0], [0.5], [1.0]])
    f1, f2 = (stats.ttest_1samp(gaps.mean(axis), 0).statistic ** 2 for axis in (0, 1))  # by images, by seeds
    result = statistics.paired_test(gaps, np.zeros_like(gaps))
    assert result.p_value == pytest.approx(stats.f.sf(f1 * f2 / (f1 + f2), 1, 2))
    assert result.p_value > stats.ttest_1samp(gaps.mean(1), 0).pvalue


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_paired_test_covers_the_truth_at_least_as_often_as_it_says(seeds):
    """Of 1,500 simulated comparisons in which seeds, images and both together scatter, 95 % of intervals or more
    hold the true difference; a paired test over images alone would hold it in fewer than half."""
    rng = np.random.default_rng(seeds)
    covered = alone = 0
    for _ in range(1500):
        gaps = 0.2 + 0.3 * rng.normal(size=(seeds, 1)) + rng.normal(size=(1, 60)) + rng.normal(size=(seeds, 60))
        result = statistics.paired_test(gaps, np.zeros_like(gaps))
        covered += result.low <= 0.2 <= result.high
        one = statistics.paired_test(0.2 + 0.3 * rng.normal() + 0.1 * rng.normal(size=60), np.zeros(60))
        alone += one.low <= 0.2 <= one.high
    assert covered / 1500 >= 0.95 - 0.012  # two standard errors
    assert alone / 1500 < 0.5


def test_paired_test_finds_what_is_there():
    """A difference of twice what seeds scatter is found with five seeds in most cases, so that bold is possible."""
    rng = np.random.default_rng(10)
    result = 0
    for _ in range(200):
        gaps = 0.6 + 0.3 * rng.normal(size=(5, 1)) + rng.normal(size=(1, 200)) + rng.normal(size=(5, 200))
        result += statistics.paired_test(gaps, np.zeros_like(gaps)).p_value < 0.05
    assert result / 200 > 0.6


def test_paired_test_of_constant_differences():
    """Equal values are no difference, p = 1; the same difference everywhere is certain."""
    values = np.arange(6.0).reshape(2, 3)
    assert statistics.paired_test(values, values).p_value == 1.0
    result = statistics.paired_test(values + 1, values)
    assert (result.difference, result.low, result.high, result.p_value) == (1.0, 1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0], [2.0], "two or more pairs"),
        (np.zeros((2, 3)), np.zeros((3, 3)), "of the same shape"),
        ([1.0, math.nan], [1.0, 1.0], "not finite"),
    ],
)
def test_paired_test_refuses_what_cannot_be_paired(a, b, message):
    """A single pair, other seeds and not-a-number have one error message each."""
    with pytest.raises(UsageError, match=message):
        statistics.paired_test(a, b)
