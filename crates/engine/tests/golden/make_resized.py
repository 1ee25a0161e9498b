#!/usr/bin/env python3
"""Record what Pillow's Lanczos resampling makes of a picture: `make_resized.py > resized.json`.

The picture is a formula, so only its results are stored, as hex. Made with Pillow 12.3. Pillow 13 resamples rows before
columns where that is cheaper, and so differs by a few levels where one side grows much and the other shrinks.
"""
import json

from PIL import Image

WIDTH, HEIGHT = 23, 17
SIZES = [(23, 17), (16, 16), (48, 32), (7, 5), (23, 40), (1, 1), (160, 3)]


def picture():
    pixels = [((x * 37 + y * 11) % 256, (x * x * 5 + y * 91) % 256, 255 if (x // 4 + y // 3) % 2 else 0)
              for y in range(HEIGHT) for x in range(WIDTH)]
    image = Image.new("RGB", (WIDTH, HEIGHT))
    image.putdata(pixels)
    return image


def main():
    image = picture()
    cases = [{"width": w, "height": h, "rgb": image.resize((w, h), Image.Resampling.LANCZOS).tobytes().hex()}
             for w, h in SIZES]
    print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")


if __name__ == "__main__":
    main()
