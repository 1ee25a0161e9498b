"""The world of the starter model: coloured shapes on a plain background, and the sentences that describe them.

A *scene* is a list of objects with exact geometry; a *caption* is one of many sentences that are true of it. Whatever
a caption leaves unsaid is drawn at random, so the model learns to invent it. Scenes are drawn in fractions of the
image, which makes the same scene valid at every size.

`crates/testkit/src/picture.rs` reads pictures back with the same palette and the same outlines; change both together.
"""

import random
import zlib
from dataclasses import dataclass

import numpy as np

PALETTE = {
    "red": (225, 30, 35),
    "orange": (250, 135, 15),
    "yellow": (250, 220, 35),
    "green": (35, 155, 60),
    "cyan": (40, 205, 215),
    "blue": (35, 75, 215),
    "purple": (135, 45, 175),
    "pink": (250, 135, 190),
    "brown": (125, 75, 35),
    "black": (15, 15, 15),
    "white": (250, 250, 250),
    "gray": (128, 128, 128),
}
SHAPES = ("circle", "square", "triangle", "star", "ring", "heart", "cross")
PLACES = {  # name -> centre as (x, y) fractions of width and height
    "left": (0.26, 0.5),
    "right": (0.74, 0.5),
    "top": (0.5, 0.26),
    "bottom": (0.5, 0.74),
    "center": (0.5, 0.5),
    "top left": (0.27, 0.27),
    "top right": (0.73, 0.27),
    "bottom left": (0.27, 0.73),
    "bottom right": (0.73, 0.73),
}
# Radius as a fraction of the shorter side, by number of objects in the picture and size word.
RADII = {
    1: {"small": (0.125, 0.13), "medium": (0.21, 0.22), "large": (0.34, 0.355)},
    2: {"small": (0.105, 0.11), "medium": (0.155, 0.162), "large": (0.20, 0.208)},
    3: {"small": (0.097, 0.102), "medium": (0.13, 0.137), "large": (0.168, 0.175)},
}
LARGE_AND_PLACED = (0.25, 0.26)  # a single large object that must still be visibly left, right, above or below
GAP = 0.05  # least distance between the circles around two objects


# ------------------------------------------------------------------------------------------------ outlines
def inside(shape, x, y):
    """Which points of the unit square [-1, 1]² (y downwards) belong to the shape; works on arrays."""
    if shape == "circle":
        return x * x + y * y <= 1.0
    if shape == "square":
        return np.maximum(abs(x), abs(y)) <= 0.88
    if shape == "triangle":
        return (y <= 0.8) & (y >= 1.8 * abs(x) / 0.98 - 1.0)
    if shape == "ring":
        r2 = x * x + y * y
        return (r2 <= 1.0) & (r2 >= 0.52 * 0.52)
    if shape == "cross":
        return (np.minimum(abs(x), abs(y)) <= 0.32) & (np.maximum(abs(x), abs(y)) <= 0.96)
    if shape == "heart":
        u, v = 1.2 * x, -1.2 * y + 0.12
        s = u * u + v * v - 1.0
        return s * s * s <= u * u * v * v * v
    if shape == "star":
        angle = np.arctan2(x, -y)
        sector = abs((angle + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)  # 0 at a tip, π/5 in a notch
        r = np.sqrt(x * x + y * y)
        inner = 0.45
        # the edge from the tip (1, 0) to the notch inner·(cos π/5, sin π/5), as a half plane
        nx, ny = inner * np.sin(np.pi / 5), 1.0 - inner * np.cos(np.pi / 5)
        return r * (np.cos(sector) * nx + np.sin(sector) * ny) <= nx
    raise ValueError(f"unknown shape {shape}")


# -------------------------------------------------------------------------------------------------- scenes
@dataclass
class Group:
    """One to three equal objects that a caption names together."""

    shape: str
    color: str
    count: int
    size: str  # small, medium (never said), large
    place: str | None


@dataclass
class Scene:
    background: str
    groups: list
    circles: list  # (group index, x, y, radius): where the objects are

    @property
    def total(self):
        return sum(g.count for g in self.groups)


def held_out(text):
    """True for a tenth of all captions: training never sees them, and the evaluation uses no others.

    They are chosen by their text and nothing else. Were whole combinations left out, such as yellow stars on black, a
    model would learn that black stars on yellow are what these words always mean, whatever their order.
    """
    return zlib.crc32(text.encode()) % 10 == 0


def pick_background(rng):
    return "white" if rng.random() < 0.25 else rng.choice(list(PALETTE))


def pick_group(rng, background, count, place=None):
    color = rng.choice([c for c in PALETTE if c != background])
    size = rng.choices(("small", "medium", "large"), (0.25, 0.5, 0.25))[0]
    # pointed outlines are learnt last, so they are shown more often
    return Group(rng.choice((*SHAPES, "star", "star", "heart", "triangle", "triangle")), color, count, size, place)


def pick_groups(rng, background):
    kind = rng.random()
    if kind < 0.36:
        # three of a kind are the smallest, and learnt last
        count = rng.choices((1, 2, 3), (2, 3, 4))[0]
        place = None
        if rng.random() < 0.4:
            place = rng.choice(list(PLACES)) if count == 1 else rng.choice(("left", "right", "top", "bottom"))
        return [pick_group(rng, background, count, place)]
    if kind < 0.83:
        places = (None, None)
        if rng.random() < 0.35:
            places = rng.choice((("left", "right"), ("right", "left"), ("top", "bottom"), ("bottom", "top")))
        groups = [pick_group(rng, background, 1, p) for p in places]
    else:
        groups = [pick_group(rng, background, n) for n in rng.choice(((1, 2), (2, 1)))]
    if (groups[0].shape, groups[0].color) == (groups[1].shape, groups[1].color):
        groups[1].shape = rng.choice([s for s in SHAPES if s != groups[0].shape])
    return groups


def slots(total, place):
    """Centres for the objects of a picture, each a pair of fractions, without overlap."""
    if total == 1:
        return [PLACES[place or "center"]]
    if place in ("left", "right", "top", "bottom"):
        along = (0.27, 0.73) if total == 2 else (0.2, 0.5, 0.8)
        x, y = PLACES[place]
        return [(x, a) if place in ("left", "right") else (a, y) for a in along]
    # one arrangement for each number: what the prompt leaves open should not be a riddle for a small model
    if total == 2:
        return [(0.28, 0.5), (0.72, 0.5)]
    return [(0.5, 0.28), (0.27, 0.72), (0.73, 0.72)]


def apart(circles):
    return all((a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2 >= (a[3] + b[3] + GAP) ** 2
               for i, a in enumerate(circles) for b in circles[:i])


def place_objects(rng, groups):
    """Puts the objects on their slots; sizes shrink a little with every try until none touches another."""
    shrink = 1.0
    while True:
        circles = try_placing(rng, groups, shrink)
        if apart(circles):
            return circles
        shrink *= 0.97


def try_placing(rng, groups, shrink):
    total = sum(g.count for g in groups)
    if len(groups) == 2 and groups[0].place:
        centres = [PLACES[g.place] for g in reversed(groups)]
    else:
        centres = slots(total, groups[0].place)[::-1]
    circles = []
    for index, group in enumerate(groups):
        low, high = RADII[total][group.size]
        if total == 1 and group.size == "large" and group.place not in (None, "center"):
            low, high = LARGE_AND_PLACED
        radius = shrink * rng.uniform(low, high)
        # little is left to chance: a shape that may lie anywhere takes a small model ten times longer to draw sharply
        loose = 0.02 if total == 1 and group.place is None else 0.008
        for _ in range(group.count):
            x, y = (min(max(c + rng.uniform(-loose, loose), radius + 0.02), 0.98 - radius) for c in centres.pop())
            circles.append((index, x, y, radius))
    return circles


def random_scene(rng):
    background = pick_background(rng)
    groups = pick_groups(rng, background)
    return Scene(background, groups, place_objects(rng, groups))


def draw(scene, width, height, oversample=3):
    """The scene as uint8 [height, width, 3], edges smoothed by oversampling."""
    image = np.empty((height, width, 3), np.float32)
    image[:] = PALETTE[scene.background]
    for index, cx, cy, radius in scene.circles:
        group = scene.groups[index]
        r, px, py = radius * min(width, height), cx * width, cy * height
        x0, x1 = max(int(px - r) - 1, 0), min(int(px + r) + 2, width)
        y0, y1 = max(int(py - r) - 1, 0), min(int(py + r) + 2, height)
        n = oversample
        xs = ((np.arange((x1 - x0) * n, dtype=np.float32) + 0.5) / n + x0 - px) / r
        ys = ((np.arange((y1 - y0) * n, dtype=np.float32) + 0.5) / n + y0 - py) / r
        mask = inside(group.shape, xs[None, :], ys[:, None]).astype(np.float32)
        alpha = mask.reshape(y1 - y0, n, x1 - x0, n).mean((1, 3))[..., None]
        patch = image[y0:y1, x0:x1]
        patch += alpha * (np.float32(PALETTE[group.color]) - patch)
    return np.rint(image).astype(np.uint8)


# ------------------------------------------------------------------------------------------------ captions
COUNT_WORDS = {1: ("a", "a", "one", "a single", "1", "the", ""), 2: ("two", "two", "2", "a pair of"),
               3: ("three", "three", "3")}
SIZE_WORDS = {"small": ("small", "small", "little", "tiny"), "large": ("large", "large", "big", "huge")}
COLOR_WORDS = {"purple": ("purple", "purple", "violet"), "gray": ("gray", "grey"), "cyan": ("cyan", "turquoise")}
SHAPE_WORDS = {
    "circle": (("circle", "circles"), ("circle", "circles"), ("disc", "discs"), ("dot", "dots")),
    "square": (("square", "squares"),),
    "triangle": (("triangle", "triangles"),),
    "star": (("star", "stars"),),
    "ring": (("ring", "rings"), ("ring", "rings"), ("donut", "donuts")),
    "heart": (("heart", "hearts"),),
    "cross": (("cross", "crosses"), ("cross", "crosses"), ("plus", "pluses")),
}
PLACE_WORDS = {
    "left": ("on the left", "on the left side", "at the left", "left", "to the left"),
    "right": ("on the right", "on the right side", "at the right", "right", "to the right"),
    "top": ("at the top", "on top", "top", "in the top half"),
    "bottom": ("at the bottom", "bottom", "on the bottom", "in the bottom half"),
    "center": ("in the center", "in the centre", "in the middle", "center", "centered", "centre"),
}
for _v in ("top", "bottom"):
    for _h in ("left", "right"):
        PLACE_WORDS[f"{_v} {_h}"] = (f"in the {_v} {_h} corner", f"at the {_v} {_h}", f"{_v} {_h}", f"in the {_v} {_h}")
BACKGROUND_WORDS = ("on a {} background", "on a {} background", "on a {} background", "on {}", "with a {} background",
                    "against a {} background", "{} background", "over a {} background", "in front of a {} background")
OPENINGS = ("", "", "", "", "", "a picture of", "an image of", "a drawing of", "draw", "a photo of", "show me",
            "please paint", "there is", "i want")
EXTRAS = ("beautiful", "nice", "simple", "flat", "minimalist", "clean", "very", "highly detailed", "4k", "art",
          "illustration", "vector", "cute", "shiny", "masterpiece", "best quality", "style", "modern", "!", ".")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def group_words(rng, group, say_color=True):
    """`two small red stars on the left`, in one of several orders."""
    count = rng.choice(COUNT_WORDS[group.count])
    size = rng.choice(SIZE_WORDS[group.size]) if group.size in SIZE_WORDS else ""
    color = rng.choice(COLOR_WORDS.get(group.color, (group.color,))) if say_color else ""
    shape = rng.choice(SHAPE_WORDS[group.shape])[group.count > 1]
    place = rng.choice(PLACE_WORDS[group.place]) if group.place else ""
    style = rng.random()
    if style < 0.80:
        words = [count, size, color, shape, place]
    elif style < 0.86:
        words = [count, color, size, shape, place]
    elif style < 0.91:
        words = [place, count, size, color, shape]
    elif style < 0.95:
        words = [count, size, shape, f"in {color}" if color else "", place]
    else:
        words = [shape, color, size, place, "" if group.count == 1 else rng.choice(("two", "2") if group.count == 2
                                                                                  else ("three", "3"))]
        rng.shuffle(words)
    return " ".join(w for w in words if w)


def nonsense(rng):
    return "".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 9)))


def caption(rng, scene, plain=False, unseen=False):
    """A sentence that is true of the scene: one for training, or (unseen=True) one that training never sees."""
    while True:
        text = wording(rng, scene, plain)
        if held_out(text) == unseen:
            return text


def wording(rng, scene, plain):
    """Any sentence that is true of the scene. White backgrounds may go unsaid; so may, rarely, a colour."""
    groups = list(scene.groups)
    placed = groups[0].place is not None
    if len(groups) == 2 and placed and rng.random() < 0.5:
        groups.reverse()  # without places, the order of the words is the order from left to right
    say_color = plain or len(groups) > 1 or rng.random() > 0.04
    parts = [group_words(rng, g, say_color) for g in groups]
    body = parts[0]
    if len(parts) == 2:
        body += rng.choice((" and ", " and ", " and ", " with ", " next to ", ", ")) + parts[1]
    background = rng.choice(BACKGROUND_WORDS).format(rng.choice(COLOR_WORDS.get(scene.background,
                                                                               (scene.background,))))
    if not plain and scene.background == "white" and rng.random() < 0.5:
        background = ""
    background_first = background and rng.random() < 0.35
    if background_first:
        if rng.random() < 0.6:
            background = rng.choice(COLOR_WORDS.get(scene.background, (scene.background,))) + " background"
        text = rng.choice((f"{background}, {body}", f"{background} {body}", f"{background}: {body}"))
    else:
        text = body + (" " if rng.random() < 0.75 else ", ") * bool(background) + background
    if plain:
        return text
    # "red background, a blue star" is learnt apart from the same words after an opening, so it has to be common
    opening = "" if background_first and rng.random() < 0.8 else rng.choice(OPENINGS)
    text = f"{opening} {text}" if opening else text
    words = text.split(" ")
    for _ in range(rng.choices((0, 1, 2, 3), (0.75, 0.12, 0.08, 0.05))[0]):
        word = nonsense(rng) if rng.random() < 0.5 else rng.choice(EXTRAS)
        words.insert(rng.choice((0, len(words), rng.randint(0, len(words)))), word)
    return " ".join(words)


def vocabulary():
    """Every word a caption can hold, except the nonsense, which the tokenizer must not know."""
    words = set()
    for table in (COUNT_WORDS, SIZE_WORDS, COLOR_WORDS, PLACE_WORDS):
        for choices in table.values():
            words.update(w for c in choices for w in c.split())
    words.update(w for pairs in SHAPE_WORDS.values() for pair in pairs for w in pair)
    words.update(w for c in BACKGROUND_WORDS for w in c.replace("{}", "").split())
    words.update(PALETTE)
    words.update("and with next to in , : . of image picture drawing".split())
    return sorted(w for w in words if w)


def seeded(seed):
    return random.Random(seed)
