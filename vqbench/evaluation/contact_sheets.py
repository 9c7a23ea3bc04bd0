"""Draw and keep samples with their nearest training images."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vqbench.dataset import Images
from vqbench.functional import neighbours
from vqbench.images import batches, with_progress
from vqbench.store import snapshots
from vqbench.system.stored_files import write_atomically

TOGETHER = 100  # training images that are compared at once
SHOWN = 64  # samples in the grid of samples
BESIDE = 32  # samples that are shown with their nearest training images
COLUMNS = 8
GAP = 2  # pixels between images
CPU = torch.device("cpu")


def draw(
    folder: Path,
    samples: Tensor,
    training: Tensor | Images,
    device: torch.device = CPU,
    mirrored: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Write ``samples.png``, ``neighbours.png`` and, for pages, ``samples.npz``.

    The last two have the first samples with the nearest training image of each.

    Args:
        folder: Where the files go.
        samples: (N, C, S, S) uint8.
        training: (T, C, S, S) uint8, the images that the generator was trained on.
        device: Where distances are computed.
        mirrored: Whether the generator was also trained on mirror images. A training image is then shown as its mirror
            image where that is nearer.
        progress: Called after each piece of training images; may raise Interrupted.
    """
    write_atomically(folder / "samples.png", grid(samples[:SHOWN]))
    shown = samples[:BESIDE]
    places = nearest(shown, training, device, mirrored, progress)
    below = training[places]
    if mirrored:
        below = mirrored_where_nearer(below, shown)
    snapshots.write(folder, snapshots.SampleSnapshot(shown.numpy(), below.numpy(), places.numpy()))
    pairs = [
        row
        for start in range(0, len(shown), COLUMNS)
        for images in (shown, below)
        for row in [images[start : start + COLUMNS]]
    ]
    write_atomically(folder / "neighbours.png", grid(torch.cat(pairs)))


def nearest(
    images: Tensor,
    training: Tensor | Images,
    device: torch.device = CPU,
    mirrored: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return the position (N,) of the training image nearest to each image.

    ``images`` are (N, C, S, S) uint8.

    By Euclidean distance of pixels; with ``mirrored``, by the smaller distance to a training image and to its mirror
    image, which equals that of the mirrored image to the training image. All training images are read, in pieces.
    """
    views = torch.stack([images, images.flip(-1)] if mirrored else [images])  # (V, N, C, S, S)

    def flat(levels: Tensor) -> Tensor:
        return levels.to(device).float().flatten(1)

    pieces = with_progress(batches(training, torch.arange(len(training)), TOGETHER), progress)
    return neighbours.nearest(views.to(device).float().flatten(2), map(flat, pieces))[1].cpu()


def mirrored_where_nearer(others: Tensor, images: Tensor) -> Tensor:
    """Mirror those of ``others`` that are then nearer to the image beside them.

    Both are (N, C, S, S) uint8.
    """
    views = torch.stack([others, others.flip(-1)])  # (2, N, C, S, S)
    apart = (views.int() - images.int()).square().sum((2, 3, 4))  # (2, N), in 64 bits
    return torch.where((apart[1] < apart[0])[:, None, None, None], views[1], views[0])


def grid(images: Tensor, columns: int = COLUMNS) -> bytes:
    """Encode images (N, C, S, S) uint8 as one PNG, row by row.

    Small images are enlarged without smoothing.
    """
    count, channels, side, _ = images.shape
    rows, wide, step = -(-count // columns), min(count, columns), side + GAP
    canvas = torch.full((rows * step + GAP, wide * step + GAP, channels), 255, dtype=torch.uint8)
    for place, image in enumerate(images):
        y, x = (GAP + step * at for at in divmod(place, columns))
        canvas[y : y + side, x : x + side] = image.permute(1, 2, 0)
    times = max(1, 64 // side)
    drawn = Image.fromarray(canvas.squeeze(-1).numpy())
    buffer = io.BytesIO()
    drawn.resize((drawn.width * times, drawn.height * times), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()
