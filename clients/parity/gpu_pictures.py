"""Whether a device draws what the processor draws: the mid-size FLUX by `scumble run`, the same seed on both, in two number types."""

import struct
import zlib

import gpu_card
from bench_programs import SCUMBLE, finished

# Levels of 255 that pictures of two devices may be apart on average: they differ by rounding alone. Measured on a processor,
# bfloat16 lies 0.1 from float32, and weights that are rounded to eight bits 1.4.
LIMITS = {"float32": 0.5, "bfloat16": 4.0}


def png(path):
    """The bytes of a picture with eight bits a channel, row by row: by Python alone, since a machine with a card may have no more."""
    data = path.read_bytes()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError(f"{path} is no PNG")
    at, packed = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height, bits, colour, _, _, woven = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            packed += body
        at += length + 12
    channels = {0: 1, 2: 3, 6: 4}.get(colour)
    if bits != 8 or woven or not channels:
        raise ValueError(f"{path} is not 8 bits a channel, row by row")
    raw, row = zlib.decompress(packed), width * channels
    out, above = bytearray(), bytes(row)
    for line in range(height):
        start = line * (row + 1)
        above = unfiltered(raw[start], bytearray(raw[start + 1:start + 1 + row]), above, channels)
        out += above
    return (width, height, channels), bytes(out)


def unfiltered(kind, line, above, channels):
    """A row of pixels from what stands in the file, as PNG's five filters have it."""
    for index in range(len(line)):
        left, corner = (line[index - channels], above[index - channels]) if index >= channels else (0, 0)
        up = above[index]
        if kind == 4:
            guess = left + up - corner
            guess = min((left, up, corner), key=lambda value: abs(guess - value))
        else:
            guess = (0, left, up, (left + up) // 2)[kind]
        line[index] = line[index] + guess & 255
    return line


def distance(a, b):
    """Mean and largest difference of two pictures, in levels of 255."""
    (shape, a), (other, b) = png(a), png(b)
    if shape != other:
        raise ValueError(f"pictures of {shape} and {other} have no distance")
    apart = [abs(x - y) for x, y in zip(a, b)]
    return {"mean": sum(apart) / len(apart), "most": max(apart)}


def draw(case, device, dtype, picture, patience):
    command = [SCUMBLE, "run", case.endpoint, case.prompt, "--weights", case.weights, "--device", device, "--dtype", dtype, "--seed", 1,
               "-i", f"num_inference_steps={case.steps}", "-i", f"image_size={case.size}x{case.size}", "-o", picture]
    finished(command, gpu_card.environment(), patience)


def compared(case, device, folder, patience):
    """`{number type: mean, most, limit, right}`; what could not be drawn has `failed` in the place of numbers."""
    found = {}
    for dtype, limit in LIMITS.items():
        files = [folder / f"picture-{place}-{dtype}.png" for place in ("device", "cpu")]
        try:
            for place, file in zip((device, "cpu"), files):
                draw(case, place, dtype, file, patience)
            apart = distance(*files)
        except (SystemExit, ValueError) as error:
            found[dtype] = {"failed": str(error), "right": False}
            print(f"    {dtype}: NOT DRAWN: {error}", flush=True)
            continue
        # a network that draws one colour would be near anything
        plain = len(set(png(files[1])[1])) < 16
        right = apart["mean"] <= limit and not plain
        found[dtype] = {**apart, "limit": limit, "right": right}
        verdict = "right" if right else "WRONG: the processor's has hardly any colours" if plain else "WRONG"
        print(f"    {dtype}: {apart['mean']:.3f} levels of 255 apart on average, {apart['most']} at most; "
              f"{limit} on average are allowed: {verdict}", flush=True)
    return found
