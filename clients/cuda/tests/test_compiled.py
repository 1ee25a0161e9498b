"""Every kernel for every card: it compiles, keeps its numbers in registers, and is what lies in built/.

`UPDATE_EXPECT=1 python -m pytest` writes built/ anew.
"""

import os
import re

import pytest

import emulator
import tiles
import toolkit
from toolkit import BUILT, KERNELS, SOURCES, TILES, NoToolkit

ARCHITECTURES = [80, 86, 89, 90, 100, 120]
NAMES = sorted(path.stem for path in SOURCES.glob("*.cu"))
WHOLE_SIZE = 6_000_000  # bytes of built/


@pytest.fixture(scope="module")
def compilers():
    """NVIDIA's compilers; without them nothing here is shown."""
    try:
        toolkit.toolkit(KERNELS)
    except NoToolkit as reason:
        pytest.skip(f"NOTHING IS COMPILED FOR CARDS: {reason}")


@pytest.fixture(scope="module")
def tile_compilers():
    try:
        toolkit.toolkit(TILES)
    except NoToolkit as reason:
        pytest.skip(f"ATTENTION IS NOT COMPILED FOR CARDS: {reason}")
    pytest.importorskip("cuda.tile", reason="ATTENTION IS NOT COMPILED FOR CARDS: cuda-tile is missing")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", NAMES)
def test_kernels_keep_their_numbers_in_registers(compilers, tmp_path, name, architecture):
    # as PTX of that card's own, and as the driver makes it from what is shipped
    for text in (toolkit.ptx(name, architecture), toolkit.ptx(name)):
        resources = toolkit.assembled(text, architecture, tmp_path / "kernel.cubin")
        assert set(resources) == set(emulator.kernels(name))
        for kernel, used in resources.items():
            assert used["stack"] == 0 and used["spills"] == 0, f"{kernel} for {architecture}: {used}"
            assert used["shared"] <= 8192, f"{kernel}: {used}"


def expect(name, content):
    """A file of built/ is this, to the byte."""
    path = BUILT / name
    if os.environ.get("UPDATE_EXPECT"):
        BUILT.mkdir(exist_ok=True)
        path.write_bytes(content)
    assert path.exists(), f"{name} is not built: UPDATE_EXPECT=1 writes it"
    assert path.read_bytes() == content, f"{name} is not what its source gives: UPDATE_EXPECT=1 writes it anew"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_built_is_what_the_source_gives(compilers, name):
    text = toolkit.ptx(name)
    # drivers from r580 on read this version
    assert re.search(r"^\.version 9\.0$", text, re.M) and re.search(r"^\.target sm_80$", text, re.M)
    assert "/" not in re.sub(r"//", "", text), "it names a path"
    expect(f"{name}.ptx", text.encode())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("width", tiles.WIDTHS)
def test_attention_uses_tensor_cores_and_nothing_but_registers(tile_compilers, width, biased, architecture):
    code = tiles.cubin(width, biased, architecture)
    used = tiles.usage(code)
    assert used["stack"] == 0, used
    assert used["shared"] <= tiles.SHARED[architecture], used
    # a multiprocessor has 65,536 registers, and gives them out by eights
    assert -(-used["registers"] // 8) * 8 * used["threads"] <= 65536, used
    text = tiles.look(code, "-sass")
    assert not re.search(r"\b(STL|LDL)\b", text), "numbers are kept in memory"
    family = {90: r"\bHGMMA\.64x\d+x16\.F32\.BF16\b", 100: r"\bUTCHMMA\b"}.get(architecture, r"\bHMMA\.16816\.F32\.BF16\b")
    assert re.search(family, text), "tensor cores are not used"
    if architecture >= 90:
        assert "UTMALDG" in text, "tiles are not fetched by the copy engine"


@pytest.mark.parametrize("biased", [False, True])
def test_the_launch_of_attention_is_what_the_code_takes(tile_compilers, biased):
    sizes, offset = [], 0
    for argument in tiles.arguments(biased):
        size = {"pointer": 8, "i32": 4, "f32": 4}[argument["type"]]
        offset = -(-offset // size) * size
        sizes.append((offset, size))
        offset += size
    for architecture in tiles.CARDS:
        for width in tiles.WIDTHS:
            assert tiles.parameters(tiles.cubin(width, biased, architecture)) == sizes


def test_what_is_built_of_attention_is_what_the_source_gives(tile_compilers):
    for name, content in tiles.built().items():
        assert not re.search(rb"/(home|root|tmp|usr|opt|var|mnt|srv)/", content), f"{name} names a path"
        expect(name, content)


def test_nothing_else_is_built():
    names = {f"{name}.ptx" for name in NAMES} | {"attention.json"}
    names |= {tiles.file_name(w, b, a) for a in tiles.CARDS for w in tiles.WIDTHS for b in (False, True)}
    assert {path.name for path in BUILT.iterdir()} == names
    assert sum(path.stat().st_size for path in BUILT.iterdir()) < WHOLE_SIZE


def test_the_readme_tells_every_argument():
    text = " ".join((SOURCES / "README.md").read_text().split())
    for name in NAMES:
        for kernel, arguments in emulator.kernels(name).items():
            kinds = [f"{kind}{argument}" if kind.endswith("*") else f"{kind} {argument}" for kind, argument in arguments]
            assert f"{kernel}({', '.join(kinds)})" in text, f"{kernel}({', '.join(kinds)})"
