"""The driver's libraries, built by an ordinary compiler: `python build.py` prints the folder that they are in.

The tensor library's own kernels are compiled from where cargo has put its package, which this looks for; nothing of it is here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
KERNELS = ROOT / "crates/kernels/cuda"
EMULATOR = HERE.parent / "emulator"
OURS = ["norm", "heads", "finish", "group_norm", "patches"]
THEIRS = ["affine", "binary", "cast", "conv", "fill", "indexing", "reduce", "ternary", "unary"]
COMPILER = os.environ.get("CXX", "g++")
FLAGS = "-std=c++20 -O1 -fPIC -ffp-contract=off -fno-strict-aliasing -Wall -Werror -fvisibility=hidden".split()
# What a card would count or read wrongly stops the process; see the emulator.
STRICT = ("-Wno-unknown-pragmas -Wno-attributes -Wno-maybe-uninitialized -fsanitize=alignment,bounds,shift,signed-integer-overflow,"
          "integer-divide-by-zero -fsanitize-undefined-trap-on-error").split()
# Products are most of the time.
FAST = ["-O3", "-march=native"]


def theirs():
    """The sources of the tensor library's kernels; cargo has them where the program was built."""
    lock = (ROOT / "Cargo.lock").read_text()
    version = re.search(r'name = "candle-kernels"\nversion = "(.*?)"', lock).group(1)
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    found = sorted(home.glob(f"registry/src/*/candle-kernels-{version}/src"))
    if not found:
        raise SystemExit(f"candle-kernels {version} is not in {home}: `cargo fetch --locked` in {ROOT} brings it")
    return found[0]


def compiled(name, flags, text=None, path=None):
    """An object, from a file or a text; again only where a source of it is newer."""
    made = TARGET / f"{name}.o"
    listed = made.with_suffix(".d")
    if made.exists() and listed.exists():
        parts = [Path(part) for part in listed.read_text().replace("\\\n", " ").split()[1:]] + [HERE / "build.py"]
        if all(part.exists() and part.stat().st_mtime < made.stat().st_mtime for part in parts if str(part) != "-"):
            return made
    done = subprocess.run([COMPILER, *FLAGS, *flags, "-MMD", "-MF", listed, "-c", "-x", "c++", path or "-", "-o", made],
                          input=text, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{name}: {done.stderr[:4000]}")
    return made


def our_kernels(name):
    """One source of ours, by the emulator that its tests use."""
    names = re.findall(r'extern "C" __global__ void __launch_bounds__\([\d, ]+\)\s+(\w+)\(', (KERNELS / f"{name}.cu").read_text())
    text = f'#include "kernels.h"\n#include "emulator.h"\n#include "{KERNELS / name}.cu"\n'
    for kernel in names:
        text += (f"static driver::Added added_{kernel}(driver::described(\"{kernel}\", {kernel}, [](const unsigned *grid, "
                 f"const unsigned *block, void **arguments) {{\n"
                 f"    emulator::Launch<{kernel}>::go(grid, block, nullptr, 2, arguments);\n}}));\n")
    return compiled(f"ours_{name}", [*STRICT, f"-I{HERE}", f"-I{EMULATOR}", f"-I{KERNELS}"], text)


def their_kernels(name):
    """One source of theirs. What its macros make is known after them alone."""
    source = theirs() / f"{name}.cu"
    barriers = int("__syncthreads" in source.read_text())
    text = f'#define HAS_BARRIERS {barriers}\n#include "fibres.h"\n#include "{source}"\n'
    flags = ["-w", f"-I{HERE}", f"-I{HERE / 'nvidia'}", f"-I{source.parent}"]
    whole = subprocess.run([COMPILER, *FLAGS, *flags, "-E", "-x", "c++", "-"], input=text, capture_output=True, text=True)
    if whole.returncode != 0:
        raise SystemExit(f"{name}: {whole.stderr[:4000]}")
    names = re.findall(r'extern "C"\s+void\s+(\w+)\s*\(', whole.stdout)
    text += "".join(f"EMULATED({kernel})\n" for kernel in names)
    return compiled(f"theirs_{name}", flags, text)


def tiles():
    """Which queries a block of attention computes, from what its compiler wrote down."""
    kernels = json.loads((KERNELS / "built/attention.json").read_text())["kernels"]
    rows = "".join(f'    {{"{k["symbol"]}", {k["architecture"]}, {k["queries"]}}},\n' for k in kernels)
    (TARGET / "tiles.h").write_text("struct Tile {\n    const char *symbol;\n    int architecture, queries;\n};\n"
                                    f"static const Tile TILES[] = {{\n{rows}}};\n")


def library(name, objects, *more):
    fresh = TARGET / f".{name}.{os.getpid()}"
    done = subprocess.run([COMPILER, "-shared", "-Wl,-z,nodelete", f"-Wl,-soname,{name}", "-o", fresh, *objects, *more], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{name}: {done.stderr[:4000]}")
    fresh.replace(TARGET / name)


TARGET = Path(os.environ.get("SCUMBLE_DRIVER_TARGET", ROOT / "target/cuda-driver"))
LIBRARIES = ["libcuda.so.1", "libcublas.so.13", "libcurand.so.10"]


def build():
    """The folder with the libraries; they are built again only where a source is newer."""
    made = [TARGET / name for name in LIBRARIES]
    sources = [*HERE.rglob("*.*"), *EMULATOR.glob("*.h"), *KERNELS.glob("*.cu*"), KERNELS / "built/attention.json"]
    newest = max(source.stat().st_mtime for source in sources if source.is_file() and "__pycache__" not in source.parts)
    if all(path.exists() and path.stat().st_mtime > newest for path in made):
        return TARGET
    if shutil.which(COMPILER) is None:
        raise SystemExit(f"there is no {COMPILER}")
    TARGET.mkdir(parents=True, exist_ok=True)
    tiles()
    own = ["settings", "memory", "card", "modules", "attention", "blas", "random"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        theirs_made = [pool.submit(their_kernels, name) for name in THEIRS]
        ours_made = [pool.submit(our_kernels, name) for name in OURS]
        own_made = {name: pool.submit(compiled, name, [f"-I{HERE}", f"-I{TARGET}", *(FAST if name in ("blas", "attention") else [])],
                                      path=HERE / f"{name}.cpp") for name in own}
        driver = [own_made[name].result() for name in own[:5]]
        driver += [made.result() for made in [*ours_made, *theirs_made]]
    near = ["-Wl,-rpath,$ORIGIN", f"-L{TARGET}", "-l:libcuda.so.1"]
    library("libcuda.so.1", driver)
    library("libcublas.so.13", [own_made["blas"].result()], *near)
    library("libcurand.so.10", [own_made["random"].result()], *near)
    return TARGET


if __name__ == "__main__":
    print(build())
    sys.exit(0)
