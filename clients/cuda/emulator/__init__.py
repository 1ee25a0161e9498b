"""Kernels of crates/kernels/cuda on the CPU, with memory whose edges are watched."""

import ctypes
import faulthandler
import mmap
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from toolkit import CACHE, SOURCES

HERE = Path(__file__).resolve().parent
PAGE = mmap.PAGESIZE
LIBC = ctypes.CDLL(None, use_errno=True)
# what a kernel did not write
CANARY = 0xA5

# -O1: half the time of -O2 to compile. The checks stop the process where a card would read or count something undefined.
FLAGS = ("-std=c++20 -O1 -shared -fPIC -ffp-contract=off -fno-strict-aliasing -Wall -Werror "
         "-Wno-unknown-pragmas -Wno-attributes -Wno-maybe-uninitialized "
         "-fsanitize=alignment,bounds,shift,signed-integer-overflow,integer-divide-by-zero -fsanitize-undefined-trap-on-error")


def path(source):
    """A file of crates/kernels/cuda by its name, or any by its path."""
    return source if isinstance(source, Path) else SOURCES / f"{source}.cu"


def kernels(source):
    """The kernels of a source, in order: {name: [(type, argument)]}."""
    text = path(source).read_text()
    found = re.findall(r'extern "C" __global__ void __launch_bounds__\([\d, ]+\)\s+(\w+)\(([^)]*)\)', text)
    assert len(found) == text.count('extern "C" __global__')
    split = {}
    for name, arguments in found:
        split[name] = [re.fullmatch(r"(.*?)(\w+)", " ".join(a.split())).groups() for a in arguments.split(",")]
        split[name] = [(kind.strip(), argument) for kind, argument in split[name]]
    return split


def library(source):
    """A source compiled for this processor; again only where something of it is newer."""
    text = path(source)
    made = (CACHE / "emulated" / text.name).with_suffix(".so")
    parts = [text, *SOURCES.glob("*.cuh"), *HERE.glob("*.*")]
    if not made.exists() or any(p.stat().st_mtime >= made.stat().st_mtime for p in parts):
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            pytest.skip(f"NOTHING IS EMULATED: there is no {compiler}")
        made.parent.mkdir(parents=True, exist_ok=True)
        whole = '#include "emulator.h"\n' + f'#include "{text}"\n'
        whole += "".join(f"EMULATE({name})\n" for name in kernels(source))
        fresh = made.with_suffix(f".{os.getpid()}.so")
        done = subprocess.run([compiler, *FLAGS.split(), f"-I{HERE}", f"-I{SOURCES}", "-x", "c++", "-",
                               "-o", fresh], input=whole, capture_output=True, text=True)
        assert done.returncode == 0, f"{text.name} for this processor:\n{done.stderr}"
        fresh.replace(made)
    return ctypes.CDLL(str(made))


class Memory:
    """An array between two pages that nobody may touch, its end or its beginning right beside one of them."""

    def __init__(self, array, *, at_end=True, skip=0, before=0):
        """`skip`: so many bytes further from that page, to lie badly. `before`: so many bytes of a larger array, which
        are not there, lie before these."""
        data = np.ascontiguousarray(array)
        self.shape, self.dtype, self.size = data.shape, data.dtype, data.nbytes
        pages = max(1, -(-(self.size + skip) // PAGE))
        self.length = (pages + 2) * PAGE
        self.map = mmap.mmap(-1, self.length)
        self.bytes = np.frombuffer(self.map, np.uint8)
        self.start = PAGE * (pages + 1) - self.size - skip if at_end else PAGE + skip
        self.bytes[:] = CANARY
        self.bytes[self.start:self.start + self.size] = data.view(np.uint8).reshape(-1)
        self.address = self.bytes.ctypes.data + self.start - before

    def protect(self, *, written):
        """In the process that runs the kernel alone."""
        base = self.bytes.ctypes.data
        inside = mmap.PROT_READ | (mmap.PROT_WRITE if written else 0)
        for at, length, how in [(0, PAGE, 0), (PAGE, self.length - 2 * PAGE, inside), (self.length - PAGE, PAGE, 0)]:
            assert LIBC.mprotect(ctypes.c_void_p(base + at), ctypes.c_size_t(length), how) == 0

    def read(self):
        """The array, after a look at what lies around it."""
        around = np.concatenate([self.bytes[:self.start], self.bytes[self.start + self.size:]])
        assert (around == CANARY).all(), "written outside an array"
        return self.bytes[self.start:self.start + self.size].copy().view(self.dtype).reshape(self.shape)


TYPES = {"long long": ctypes.c_longlong, "int": ctypes.c_int, "float": ctypes.c_float}


def launch(source, name, grid, block, *values, order=0, only=None):
    """Runs a kernel in a process of its own; memory that its signature calls const stays as it is. `only`: one block."""
    signature = kernels(source)[name]
    assert len(values) == len(signature), f"{name} takes {len(signature)} arguments"
    function = getattr(library(source), f"launch_{name}")
    cells = []
    for value, (kind, argument) in zip(values, signature):
        if kind.endswith("*"):
            assert value is None or isinstance(value, Memory), argument
            cells.append(ctypes.c_void_p(value.address if value else None))
        else:
            cells.append(TYPES[kind](value))
    pointers = (ctypes.c_void_p * len(cells))(*(ctypes.addressof(cell) for cell in cells))
    sizes = [(ctypes.c_uint * 3)(*size, *[1] * (3 - len(size))) for size in (grid, block)]
    sizes.append(None if only is None else (ctypes.c_uint * 3)(*only))
    if (child := os.fork()) == 0:
        # its end is told below, in a line
        faulthandler.disable()
        # written wins where the same memory is read too
        for written in (False, True):
            for value, (kind, _) in zip(values, signature):
                if isinstance(value, Memory) and written == (not kind.startswith("const")):
                    value.protect(written=written)
        function(*sizes, order, pointers)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise AssertionError(f"{name} ended by {signal.Signals(os.WTERMSIG(status)).name}: it touched what is not its own, "
                             "or did what is undefined")
    assert status == 0, f"{name} ended with {status}"
