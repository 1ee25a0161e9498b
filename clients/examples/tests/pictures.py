"""Pictures without a library: PNG files of noise, as large as a test wants them."""

import os
import struct
import zlib


def png(width=64, height=64, noise=False):
    """A picture of one colour, or of noise, which cannot be packed."""
    row = lambda: os.urandom(3 * width) if noise else b"\x7a\x5a\xf5" * width  # noqa: E731
    rows = [b"\0" + row() for _ in range(height)]
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows), 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(part(*p) for p in parts)


def part(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def size(picture):
    assert picture.startswith(b"\x89PNG"), picture[:20]
    return struct.unpack(">II", picture[16:24])
