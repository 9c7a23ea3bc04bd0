"""``vqbench encode``: images to codes by the model of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli import options as shared
from vqbench.cli import trained
from vqbench.cli.options import output_file
from vqbench.cli.output import note
from vqbench.errors import UsageError, counted

Words = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN [ROW] IMAGES",
        show_default=False,
        help="Key of a run, the beginning of a key, a run's folder, or a suite and a row. Then a folder of images, one "
        "image, or an array (N, C, H, W) as .npy or .npz.",
    ),
]
Output = Annotated[
    Path, typer.Option("-o", "--output", metavar="FILE", parser=output_file, help="File to write, an .npz.")
]


def encode(
    words: Words,
    output: Output = Path("codes.npz"),
    store: shared.StoreToRead = shared.RUNS,
    plugin: shared.Plugins = None,
    device: shared.Device = "auto",
    quiet: shared.Quiet = False,
) -> None:
    """Encode images to codes with a trained model.

    Image files are resized by their shorter side and cropped to the size that the run was trained on, and converted to
    grey for a run of grey images; arrays must have its size and channels, as uint8 or floats in [0, 1]. The file has
    codes, names, num_codes, the run's key and the images' size; an existing one is not replaced.
    """
    import torch

    from vqbench.evaluation import code_files
    from vqbench.evaluation.image_files import image_source

    if output.suffix != ".npz":
        raise UsageError(f"-o {output}: codes are written as .npz; give such a name")
    run, images = trained.run_and_rest(words, "IMAGES")
    if output.exists():
        raise UsageError(f"-o {output}: exists, and no file is replaced; give another name with -o")
    model = trained.load(run, store, device, plugin)
    channels, size, _ = model.image_shape
    source = image_source(images, channels, size)
    parts = []
    with trained.progress_of(model.spec, "encoding", quiet) as on_progress:
        for part in source.batches():
            parts.append(model.encode(part))
            on_progress(sum(map(len, parts)), len(source))
    codes = torch.cat(parts)
    code_files.write(output, code_files.CodeFile.of(model.coder, model.spec, codes, source.names))
    if source.resized:
        note(f"{_share(source.resized, len(source))} resized or cropped to {size}x{size} pixels")
    if source.greyed:
        note(f"{_share(source.greyed, len(source))} converted to grey, as the run's images are")
    shape = "x".join(map(str, codes.shape[1:]))
    print(f"{output}: {counted(len(codes), 'image')}, {shape} codes each, of {model.num_codes:,}")


def _share(changed: int, images: int) -> str:
    return f"{changed:,} of {counted(images, 'image')} {'was' if changed == 1 else 'were'}"
