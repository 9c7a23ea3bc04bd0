"""What a page computes of each run: its name, and the entropy of its codes."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqbench.planning import plan_file
from vqbench.reporting.html import codebooks, images, page
from vqbench.reporting.html.png import PngImage
from vqbench.reporting.html.suite_view import RunView, SuiteView, suite_view
from vqbench.store import snapshots
from vqbench.store.results import ResultStore

RESULTS = Path(__file__).parents[3] / "results"


def published(name: str) -> SuiteView:
    """The view of a published suite."""
    store = ResultStore(RESULTS)
    [plan] = [plan for plan in plan_file.stored(store) if plan.name == name]
    return suite_view(plan, [store], paper=True)


@pytest.fixture(scope="module")
def modern() -> SuiteView:
    return published("modern_quick")


def test_the_entropy_of_a_multi_scale_row_counts_every_cell_once(modern: SuiteView) -> None:
    """Its grids have 1 + 4 + 16 + 49 cells, not four times 49, in the view as in the page's JSON."""
    [view] = [view for view in modern.runs if view.run.quantizer.name == "multiscale" and view.run.seed == 42]
    assert view.entropy == pytest.approx(294.74, abs=0.01)
    [plain] = [run for run in page.data(modern)["runs"] if run["key"] == view.key]
    assert plain["entropy_bits"] == view.entropy


def test_an_entropy_is_at_most_the_uniform_bits(modern: SuiteView) -> None:
    """Of every published run with codes."""
    known = [(view.entropy, view.budget.bits) for view in modern.runs if view.entropy is not None]
    assert len(known) > 20
    for entropy, bits in known:
        assert bits is not None
        assert 0 < entropy <= bits


def test_unknown_cells_leave_the_entropy_unknown(modern: SuiteView) -> None:
    """An old snapshot of a multi-scale run has no entropy, since positions are not cells; other old ones have."""
    for view in modern.runs:
        if view.entropy is None:
            continue
        assert view.portrait is not None
        old = _without_cells(view)
        expected = None if view.run.quantizer.name == "multiscale" else view.entropy
        assert old.entropy == (None if expected is None else pytest.approx(expected))


def _without_cells(view: RunView) -> RunView:
    assert view.portrait is not None
    return replace(view, portrait=replace(view.portrait, codes_per_image=None))


def test_cells_are_summed_depth_by_depth(modern: SuiteView) -> None:
    """Two uniform codes for 3 cells and four for 5 are 3·1 + 5·2 bits."""
    view = modern.runs[1]
    assert view.portrait is not None
    counts = np.array([[7, 7, 0, 0], [1, 1, 1, 1]])
    portrait = replace(view.portrait, counts=counts, codes_per_image=np.array([3, 5]))
    assert replace(view, portrait=portrait).entropy == pytest.approx(13)


def test_second_stages_are_named_apart_from_their_first() -> None:
    """No two runs of a seed share a name, and no generator is listed among runs without reconstructions."""
    view = published("generate_codes")
    names = [run.name for run in view.runs]
    assert len(set(names)) == len(names)
    assert {run.label for run in view.runs if run.second_stage} >= {"vq + autoregressive", "cvq + autoregressive"}
    for kept in images.sets(view.runs, 10**9):
        assert not any("autoregressive" in name for name in kept.imageless_runs)


def test_the_json_names_kept_images_and_samples(tmp_path: Path) -> None:
    """Test images by group, and the nearest training image of each sample."""
    view = published("generate_codes")
    generator = next(run for run in view.runs if run.second_stage)
    drawn = np.zeros((2, 1, 28, 28), np.uint8)
    with_samples = replace(generator, samples=snapshots.SampleSnapshot(drawn, drawn, np.array([7, 3])))
    runs = page.data(replace(view, runs=[*view.runs, with_samples]))["runs"]
    assert runs[-1]["samples"] == [{"sample": 0, "nearest": 7}, {"sample": 1, "nearest": 3}]
    assert any(len(run["images"].get("same", [])) >= 8 for run in runs)


def test_unused_codes_are_visible_and_counted(modern: SuiteView) -> None:
    """Red rings of unused codes are on top of used ones, also where all of them coincide, and the text counts them."""
    view = next(view for view in modern.runs if view.portrait and view.portrait.codes_at is not None)
    assert view.portrait is not None
    assert view.portrait.codes_at is not None
    count = len(view.portrait.codes_at)
    counts = np.zeros((1, count), np.int64)
    counts[0, 0] = 9
    portrait = replace(view.portrait, counts=counts, codes_at=np.zeros((count, 2), np.float32), codes_per_image=None)
    plane = codebooks._plane(replace(view, portrait=portrait))
    assert plane is not None
    assert f"{count - 1} of them unused" in plane.text
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(plane.source.partition(",")[2]))))
    red, blue = pixels[..., 0].astype(int), pixels[..., 2].astype(int)
    assert ((red > 150) & (blue < 80) & (pixels[..., 3] > 100)).sum() > 8
    assert ((blue > 150) & (red < 80)).sum() > 4


def test_more_use_is_more_contrast_on_any_page() -> None:
    """On a white and on a dark background, every stronger shade of a strip is further from the background."""
    for background in (255.0, 20.0):
        share = codebooks.SHADES[:, 3:] / 255
        seen = share * codebooks.SHADES[:, :3] + (1 - share) * background
        assert (np.diff(np.abs(seen - background).sum(1)) > 0).all()


def levels(image: PngImage) -> np.ndarray:
    """The entries of a PNG in a page."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image.source.partition(",")[2]))))


def test_strips_share_one_scale_and_name_their_epochs(modern: SuiteView) -> None:
    """A code that is used half as often as the most used one of another run is not drawn as strongly."""
    view = next(view for view in modern.runs if view.curves)
    strong, weak = (snapshots.UsageHistory(np.full((5, 8), level, np.uint8), 1, 1) for level in (80, 40))
    drawn = codebooks.codebook_views([replace(view, curves=strong), replace(view, curves=weak)], 10**6)
    assert [each.strip is not None and int(levels(each.strip).max()) for each in drawn] == [15, 8]
    assert [each.epochs for each in drawn] == [[1, 5], [1, 5]]


def test_a_line_divides_used_from_unused_codes(modern: SuiteView) -> None:
    """Used codes stand above a line of black and white, the others below it, whatever the order in the file."""
    view = next(view for view in modern.runs if view.portrait and view.portrait.decoded is not None)
    assert view.portrait is not None
    decoded = np.stack([np.full((1, 8, 8), 50 + 50 * (i % 2), np.uint8) for i in range(8)])
    counts = np.array([[3, 0] * 4])
    portrait = replace(view.portrait, counts=counts, codes_per_image=None, codes_at=None, features_at=None)
    portrait = replace(portrait, decoded=decoded, decoded_codes=np.arange(8))
    [drawn] = codebooks.codebook_views([replace(view, portrait=portrait)], 10**6)
    assert (drawn.decoded_used, drawn.decoded_count) == (4, 8)
    assert drawn.decoded is not None
    sheet = levels(drawn.decoded)
    line = int(np.flatnonzero((sheet == 0).any(1))[0])
    assert set(np.unique(sheet[line - 4])) == {50, 127}
    assert set(np.unique(sheet[line + 6])) == {100, 127}
