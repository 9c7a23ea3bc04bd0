"""Write the images of ``fashion_mnist_5k`` into the package.

They are taken from the full Fashion-MNIST, which is downloaded if needed.

Run it in a checkout: ``python tools/make_fashion_mnist_5k.py``. The same zlib gives the same bytes.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from vqbench import assets
from vqbench.datasets import fashion_mnist_5k, mnist

DATA = Path(fashion_mnist_5k.__file__).with_name("data")


def first_images(data: bytes, count: int) -> bytes:
    """Return an idx3 file of the first ``count`` images of another one."""
    height, width = (int.from_bytes(data[i : i + 4], "big") for i in (8, 12))
    return data[:4] + count.to_bytes(4, "big") + data[8 : 16 + count * height * width]


def main() -> None:
    """Write both splits."""
    DATA.mkdir(exist_ok=True)
    for split, count in fashion_mnist_5k.FashionMnist5k.counts.items():
        images = first_images(assets.raw("fashion_mnist", mnist.FILES[split]), count)
        path = DATA / fashion_mnist_5k.FILES[split]
        path.write_bytes(gzip.compress(images, compresslevel=9, mtime=0))
        print(f"{path}: {count:,} images, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
