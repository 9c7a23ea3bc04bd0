"""A TorchScript archive of one tensor, written by hand."""

from __future__ import annotations

import io
import zipfile

import numpy as np


def script_archive(view: tuple[int, tuple[int, ...], tuple[int, ...]]) -> io.BytesIO:
    """A TorchScript-like archive of one module ``net.layers.conv`` with one tensor: a view of six floats."""
    offset, size, stride = view
    numbers = lambda values: b"(" + b"".join(b"J" + value.to_bytes(4, "little") for value in values) + b"t"  # noqa: E731
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"J" + offset.to_bytes(4, "little")
    tensor += numbers(size) + numbers(stride) + b"\x89ccollections\nOrderedDict\n)RtR"
    module = b"c__torch__.net\nNet\n)\x81}(X\x08\x00\x00\x00training\x89X\x06\x00\x00\x00weight" + tensor + b"ub"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("net/data.pkl", b"\x80\x02" + module + b".")
        files.writestr("net/data/0", np.arange(6, dtype="<f4").tobytes())
        files.writestr("net/code/__torch__/net.py", "this is not even Python")
    return archive
