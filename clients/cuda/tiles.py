#!/usr/bin/env python3
"""attention.py as machine code for each card, by cuTile's compiler: no GPU, no driver, no path in what is made.

    python tiles.py    # writes crates/kernels/cuda/built/attention* anew
"""

import functools
import io
import json
import linecache
import os
import re
import subprocess
import sys
import tempfile
import types
from pathlib import Path

from toolkit import BUILT, SOURCES, TILES, toolkit

WIDTHS = (64, 128)
# Cards that run the machine code made for the first of each line. Between 10.0 and 10.3 it is not shared: it may use what
# one card alone has ("sm_100a").
CARDS = {80: ["8.0", "8.6", "8.7", "8.8", "8.9"], 90: ["9.0"], 100: ["10.0"], 120: ["12.0"]}
# What one block may hold in shared memory on the smallest of these cards, in bytes.
SHARED = {80: 99 << 10, 86: 99 << 10, 89: 99 << 10, 90: 227 << 10, 100: 227 << 10, 120: 99 << 10}
# Queries and keys of a block, by architecture, width and whether there is a bias: the largest for which registers suffice.
BLOCKS = {
    80: {(64, False): (128, 32), (64, True): (64, 64), (128, False): (128, 32), (128, True): (64, 32)},
    90: {(64, False): (128, 128), (64, True): (128, 128), (128, False): (128, 128), (128, True): (128, 128)},
    120: {(64, False): (128, 64), (64, True): (128, 64), (128, False): (128, 64), (128, True): (128, 64)},
}
BLOCKS |= {86: BLOCKS[80], 89: BLOCKS[80], 100: BLOCKS[90]}
WARPS = 8


def symbol(width, biased):
    return f"attention_{width}_bias" if biased else f"attention_{width}"


@functools.cache
def _kernels():
    """The functions of attention.py, compiled under a name without a path."""
    module = types.ModuleType("attention")
    text = (SOURCES / "attention.py").read_text()
    # cuTile asks for a function's text by the name of its file
    linecache.cache["attention.py"] = (len(text), None, text.splitlines(keepends=True), "attention.py")
    exec(compile(text, "attention.py", "exec"), module.__dict__)
    return module


def bytecode(width, biased, architecture):
    """The kernel in the language of cuTile's compiler."""
    import cuda.tile as ct
    from cuda.tile import compilation

    # lengths and strides of 32 bits, as the copy engine takes them; places in memory are counted in 64
    def array(dtype, **more):
        return compilation.ArrayConstraint(dtype, 4, index_dtype=ct.int32, stride_lower_bound_incl=0, alias_groups=[],
                                           stride_constant=(None, None, None, 1), **more)

    heads = array(ct.bfloat16, may_alias_internally=False, stride_divisible_by=(8, 8, 8, 1),
                  shape_divisible_by=(1, 1, 1, width), base_addr_divisible_by=16)
    bias = array(ct.float32, may_alias_internally=True, base_addr_divisible_by=4)
    arrays = [heads, heads, heads, bias, heads] if biased else [heads] * 4
    queries, keys = BLOCKS[architecture][width, biased]
    scalars = [compilation.ScalarConstraint(ct.float32), compilation.ScalarConstraint(ct.int32), queries, keys, width]
    signature = compilation.KernelSignature([*arrays, *scalars], compilation.CallingConvention.cutile_python_v1(),
                                            symbol=symbol(width, biased))
    kernel = _kernels().attention_bias if biased else _kernels().attention
    made = io.BytesIO()
    compilation.export_kernel(kernel.replace_hints(num_worker_warps=WARPS), [signature], made,
                              gpu_code=f"sm_{architecture}", output_format="tileir_bytecode", bytecode_version="13.3")
    return made.getvalue()


@functools.cache
def cubin(width, biased, architecture):
    """The kernel as machine code."""
    home = toolkit(TILES)
    environment = {"PATH": f"{home / 'bin'}:{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kernel.bc").write_bytes(bytecode(width, biased, architecture))
        # without --lineinfo: it would name files
        subprocess.run([home / "bin" / "tileiras", "kernel.bc", "-o", "kernel.cubin", f"--gpu-name=sm_{architecture}", "-O3"],
                       cwd=folder, env=environment, check=True)
        return (Path(folder) / "kernel.cubin").read_bytes()


def look(code, *words):
    """What cuobjdump says of machine code."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        return subprocess.run([toolkit(TILES) / "bin" / "cuobjdump", *words, file.name], capture_output=True, text=True,
                              check=True).stdout


def usage(code):
    """Registers, stack and shared memory of its kernel, and the threads that its blocks have on the card."""
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", look(code, "-res-usage"))
    registers, stack, shared, local = map(int, found.groups())
    threads = re.search(r"EIATTR_REQNTID\s+Format:\s*\S+\s+Value:\s*(0x\w+) 0x1 0x1", look(code, "-elf"))
    return {"registers": registers, "stack": stack + local, "shared": shared, "threads": int(threads.group(1), 16)}


def parameters(code):
    """The kernel's parameters, in order: (offset, size)."""
    found = re.findall(r"Ordinal : (0x\w+)\s+Offset\s+: (0x\w+)\s+Size\s+: (0x\w+)", look(code, "-elf"))
    by_number = sorted(tuple(int(n, 16) for n in one) for one in found)
    assert [number for number, _, _ in by_number] == list(range(len(by_number)))
    return [(offset, size) for _, offset, size in by_number]


def arguments(biased):
    """What a launch passes, in order."""
    listed = []
    for name in ["q", "k", "v", *["bias"] * biased, "o"]:
        listed.append({"name": name, "type": "pointer"})
        listed += [{"name": f"{name}.{what}[{i}]", "type": "i32"} for what in ("shape", "stride") for i in range(4)]
    return [*listed, {"name": "scale", "type": "f32"}, {"name": "times", "type": "i32"}]


def file_name(width, biased, architecture):
    return f"{symbol(width, biased)}.sm_{architecture}.cubin"


def description():
    """built/attention.json."""
    kernels = []
    for architecture, cards in CARDS.items():
        for width in WIDTHS:
            for biased in (False, True):
                queries, keys = BLOCKS[architecture][width, biased]
                kernels.append({"file": file_name(width, biased, architecture), "symbol": symbol(width, biased),
                                "architecture": architecture, "cards": cards, "width": width, "bias": biased,
                                "queries": queries, "keys": keys, **usage(cubin(width, biased, architecture))})
    launch = {"grid": ["ceil(queries / kernel.queries)", "heads of q", "batch"], "block": [1, 1, 1], "shared_memory": 0}
    return {"about": "How attention is launched; made by clients/cuda/tiles.py.", "launch": launch,
            "arguments": arguments(False), "arguments_with_bias": arguments(True), "kernels": kernels}


def write_json(value):
    """Readable, one kernel or argument a line."""
    lines = ["{"]
    for key, part in value.items():
        if isinstance(part, list):
            lines.append(f"  {json.dumps(key)}: [")
            lines += [f"    {json.dumps(item)}," for item in part]
            lines[-1] = lines[-1].removesuffix(",")
            lines.append("  ],")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(part)},")
    lines[-1] = lines[-1].removesuffix(",")
    return "\n".join([*lines, "}", ""])


def built():
    """{name: bytes} of all that built/ has of attention."""
    files = {file_name(w, b, a): cubin(w, b, a) for a in CARDS for w in WIDTHS for b in (False, True)}
    return {**files, "attention.json": write_json(description()).encode()}


if __name__ == "__main__":
    BUILT.mkdir(exist_ok=True)
    for name, content in built().items():
        (BUILT / name).write_bytes(content)
        print(name, len(content), file=sys.stderr)
