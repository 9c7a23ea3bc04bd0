"""``vqbench decode``: codes to images by the model of a run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli import options as shared
from vqbench.cli import trained
from vqbench.cli.options import output_path
from vqbench.errors import UsageError, counted

Words = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN [ROW] CODES",
        show_default=False,
        help="Key of a run, the beginning of a key, a run's folder, or a suite and a row. Then a file that `vqbench "
        "encode` wrote with it.",
    ),
]
Output = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        metavar="PATH",
        parser=output_path,
        help="Folder for PNG files, or an .npz file for floats in [0, 1].",
    ),
]


def decode(
    words: Words,
    output: Output = Path("decoded"),
    store: shared.StoreToRead = shared.RUNS,
    plugin: shared.Plugins = None,
    device: shared.Device = "auto",
    quiet: shared.Quiet = False,
) -> None:
    """Decode codes to images with a trained model.

    PNG files have 8 bits, rounded, and the names of the encoded images; no file is replaced. An .npz file has the
    arrays `images`, (N, C, H, W) float32 in [0, 1], and `names`.
    """
    import numpy as np

    from vqbench.evaluation import code_files, image_files
    from vqbench.system.stored_files import write_atomically

    run, path = trained.run_and_rest(words, "CODES")
    as_array = output.suffix == ".npz"
    if output.is_file() and not as_array:
        raise UsageError(f"-o {output}: is a file; name a folder for PNG files, or an .npz file")
    if as_array and output.exists():
        raise UsageError(f"-o {output}: exists, and no file is replaced; give another name with -o")
    content = code_files.read(path)
    names = content.names if as_array else image_files.png_names(content.names)
    if not as_array and (present := [name for name in names if (output / name).exists()]):
        raise UsageError(f"{output / present[0]}: exists; name a new or an empty folder with -o")
    model = trained.load(run, store, device, plugin)
    content.require_of(model.spec)
    parts = []
    with trained.progress_of(model.spec, "decoding", quiet) as on_progress:
        for start in range(0, len(names), 100):
            images = model.decode(content.codes[start : start + 100])
            if as_array:
                parts.append(images.numpy())
            else:
                image_files.write_images(output, names[start : start + 100], images)
            on_progress(min(start + 100, len(names)), len(names))
    if as_array:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, images=np.concatenate(parts), names=np.array(names, dtype=str))
        write_atomically(output, buffer.getvalue())
    print(f"{output}: {counted(len(names), 'image')}")
