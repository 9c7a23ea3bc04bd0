"""JPEG, WebP, AVIF and JPEG 2000 as Pillow writes them, and their payloads.

The payload is a file without its headers, which say size and settings: it is to a file what the codes are to a
tokenizer's decoder, which knows the rest. It is a lower bound, since headers also hold what was fitted to the image
(JPEG's tables). Each codec's ``payload`` function defines what it counts. Must not import torch.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image, features

SOI, EOI, SOS, TEM = 0xD8, 0xD9, 0xDA, 0x01  # markers of JPEG; each follows a byte 0xFF
SOT, SOD, COM = b"\xff\x90", b"\xff\x93", b"\xff\x64"  # of JPEG 2000: a tile-part begins, its data begins, comment
HALVINGS, SMALLEST = 5, 8  # of JPEG 2000's wavelets: how often at most, and to which side in pixels
COARSEST, STEPS = 24.0 / 4000, 240  # least bits per pixel of JPEG 2000, and settings from there to 24


@dataclass(frozen=True)
class ImageCodec:
    """A codec with whole-number settings, of which higher ones give larger files."""

    name: str
    title: str
    suffix: str
    feature: str  # as PIL.features has it
    format: str  # Pillow's name
    settings: range
    options: Callable[[int, Image.Image], Mapping[str, Any]]  # setting and image -> those of Image.save
    payload: Callable[[bytes], int]  # file -> bytes without headers
    described: str  # how files are written
    payload_described: str
    finished: Callable[[bytes], bytes] = lambda data: data  # what Pillow wrote -> the file

    @property
    def available(self) -> bool:
        """Whether this Pillow was built with it."""
        return bool(features.check(self.feature))

    def encode(self, image: Image.Image, setting: int) -> bytes:
        """Return ``image``, in mode RGB or L, as a file."""
        buffer = io.BytesIO()
        image.save(buffer, self.format, **self.options(setting, image))
        return self.finished(buffer.getvalue())

    def size(self, data: bytes, headers: bool) -> int:
        """Return the bytes that count: of the whole file, or of its payload."""
        return len(data) if headers else self.payload(data)


# Payloads -------------------------------------------------------------------------------------------------------------


def jpeg_payload(data: bytes) -> int:
    """Count the entropy-coded bytes of all scans.

    Stuffed bytes and restart markers are counted; tables and headers, such as SOI, APP0, DQT, SOF, DHT, SOS and EOI,
    are not: with shared tables a decoder would need a little more.
    """
    place, count = 2, 0
    while place < len(data):
        marker = data[place + 1]
        if marker == EOI:
            return count
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
        if marker == SOS:
            end = _end_of_scan(data, place)
            count, place = count + end - place, end
    raise ValueError("a JPEG file without its end")


def _end_of_scan(data: bytes, place: int) -> int:
    """Return where the next marker is that ends entropy-coded data."""
    while True:
        place = data.index(0xFF, place)
        if data[place + 1] != 0 and not 0xD0 <= data[place + 1] <= 0xD7:  # neither stuffed nor a restart
            return place
        place += 2


def webp_payload(data: bytes) -> int:
    """Count the bytes of the ``VP8`` chunk's content.

    It begins with the frame header of 10 bytes. The RIFF header and the chunk's own, 20 bytes together, do not count.
    """
    place = 12
    while place < len(data):
        length = int.from_bytes(data[place + 4 : place + 8], "little")
        if data[place : place + 4] == b"VP8 ":
            return length
        place += 8 + length + length % 2
    raise ValueError("a WebP file without a VP8 chunk")


def avif_payload(data: bytes) -> int:
    """Count the bytes of the content of ``mdat`` boxes: the AV1 bitstream."""
    found = [length for kind, length in _boxes(data) if kind == b"mdat"]
    if not found:
        raise ValueError("an AVIF file without an mdat box")
    return sum(found)


def _boxes(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield type and length of the content of the boxes of an ISO file."""
    place = 0
    while place < len(data):
        length, kind, head = int.from_bytes(data[place : place + 4]), data[place + 4 : place + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[place + 8 : place + 16]), 16
        length = length or len(data) - place
        yield kind, length - head
        place += length


def jpeg2000_payload(data: bytes) -> int:
    """Count the bytes of all tile-parts after their SOD marker.

    These are packets with their headers. The main header (SIZ, COD, QCD, ...), those of tile-parts (SOT to SOD) and EOC
    are not counted.
    """
    place, count = data.index(SOT), 0
    while data[place : place + 2] == SOT:
        length = int.from_bytes(data[place + 6 : place + 10]) or len(data) - 2 - place
        start = data.index(SOD, place) + 2
        count, place = count + place + length - start, place + length
    return count


# Settings -------------------------------------------------------------------------------------------------------------


def _jpeg(setting: int, image: Image.Image) -> dict[str, Any]:
    """Huffman tables are fitted to the image, which makes small files smaller."""
    return {"quality": setting, "optimize": True, "subsampling": "4:2:0"}


def _webp(setting: int, image: Image.Image) -> dict[str, Any]:
    """The slowest method makes the smallest files."""
    return {"quality": setting, "method": 6}


def _avif(setting: int, image: Image.Image) -> dict[str, Any]:
    """One thread, so that a file does not depend on the machine's cores."""
    return {"quality": setting, "speed": 4, "subsampling": "4:2:0", "max_threads": 1}


def _jpeg2000(setting: int, image: Image.Image) -> dict[str, Any]:
    """Settings are geometric steps of the bits per pixel to aim at.

    Colours are transformed to luminance and chrominance, which Pillow does not do by itself.
    """
    bits = COARSEST * (24 / COARSEST) ** (setting / (STEPS - 1))
    halvings = min(HALVINGS, max(0, (min(image.size) // SMALLEST).bit_length() - 1))
    channels = len(image.getbands())
    how = {"no_jp2": True, "irreversible": True, "quality_mode": "rates", "quality_layers": [8 * channels / bits]}
    return {**how, "num_resolutions": halvings + 1, "mct": int(channels == 3)}


def _without_comment(data: bytes) -> bytes:
    """Cut out the comment in which OpenJPEG names itself, 39 bytes in every file."""
    place = data.find(COM, 0, data.index(SOT))
    if place < 0:
        return data
    return data[:place] + data[place + 2 + int.from_bytes(data[place + 2 : place + 4]) :]


CODECS = {
    codec.name: codec
    for codec in (
        ImageCodec(
            *("jpeg", "JPEG", "jpg", "jpg", "JPEG", range(1, 101)),
            _jpeg,
            jpeg_payload,
            "baseline, 4:2:0, Huffman tables fitted to each image, quality 1 to 100",
            "the entropy-coded bytes of its scan",
        ),
        ImageCodec(
            *("webp", "WebP", "webp", "webp", "WEBP", range(101)),
            _webp,
            webp_payload,
            "lossy VP8, method 6, quality 0 to 100",
            "the content of the VP8 chunk",
        ),
        ImageCodec(
            *("avif", "AVIF", "avif", "avif", "AVIF", range(101)),
            _avif,
            avif_payload,
            "AV1, 4:2:0, speed 4, quality 0 to 100",
            "the content of the mdat box",
        ),
        ImageCodec(
            *("jpeg2000", "JPEG 2000", "j2k", "jpg_2000", "JPEG2000", range(STEPS)),
            _jpeg2000,
            jpeg2000_payload,
            "a bare codestream, one tile, YCbCr, irreversible 9/7 wavelets, one layer by OpenJPEG's rate control",
            "the data of its tile-parts after SOD",
            _without_comment,
        ),
    )
}
