#!/usr/bin/env python3
"""Record what Pillow's resampling makes of a picture: `make_resized.py > resized.json`.

The picture is a formula, so only its results are stored, as hex. Made with Pillow 13, which resamples rows before columns
where that is cheaper; here columns always come first, as in Pillow 12 and before, so each direction is a call of its own.
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


def resized(image, width, height, resampling):
    return image.resize((width, HEIGHT), resampling).resize((width, height), resampling).tobytes().hex()


def main():
    image = picture()
    cases = [{"filter": name, "width": w, "height": h, "rgb": resized(image, w, h, Image.Resampling[name.upper()])}
             for name in ("lanczos", "bilinear", "bicubic") for w, h in SIZES]
    print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")


if __name__ == "__main__":
    main()
