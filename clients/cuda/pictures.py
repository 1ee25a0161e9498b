"""Pictures as the program writes them: PNG, eight bits a channel."""

import struct
import zlib
from pathlib import Path


def read(path):
    """Width, height and bytes, row by row."""
    data = Path(path).read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed = 8, b""
    while at < len(data):
        length, = struct.unpack(">I", data[at:at + 4])
        kind, body = data[at + 4:at + 8], data[at + 8:at + 8 + length]
        at += 12 + length
        if kind == b"IHDR":
            width, height, depth, color, _, _, laced = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            packed += body
    assert depth == 8 and not laced
    channels = {0: 1, 2: 3, 6: 4}[color]
    raw, row = zlib.decompress(packed), width * channels
    before, whole = bytearray(row), bytearray()
    for y in range(height):
        way, line = raw[y * (row + 1)], bytearray(raw[y * (row + 1) + 1:(y + 1) * (row + 1)])
        for i in range(row if way else 0):
            left, corner = (line[i - channels], before[i - channels]) if i >= channels else (0, 0)
            above = before[i]
            if way == 1:
                guess = left
            elif way == 2:
                guess = above
            elif way == 3:
                guess = (left + above) // 2
            else:
                far = [(abs(left + above - corner - x), n) for n, x in enumerate((left, above, corner))]
                guess = (left, above, corner)[min(far)[1]]
            line[i] = (line[i] + guess) & 255
        whole += line
        before = line
    return width, height, bytes(whole)


def apart(a, b):
    """By how many levels two pictures differ: at most, and on the average."""
    (*size, a), (*other, b) = read(a), read(b)
    assert size == other
    differences = [abs(x - y) for x, y in zip(a, b)]
    return max(differences), sum(differences) / len(differences)
