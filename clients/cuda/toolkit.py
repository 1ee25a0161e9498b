"""NVIDIA's compilers, without a GPU: fetched once into target/cuda (or SCUMBLE_CUDA_CACHE), then there."""

import ctypes
import fcntl
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "crates" / "kernels" / "cuda"
BUILT = SOURCES / "built"
CACHE = Path(os.environ.get("SCUMBLE_CUDA_CACHE", ROOT / "target" / "cuda"))

# The toolkit that compiles our kernels: drivers from r580 on take what it makes. A newer one's PTX asks for newer drivers.
KERNELS = ("13.0.2", "nvcc nvvm crt nvrtc")
# cuTile's compiler begins with 13.2. nvdisasm and cuobjdump read what both make.
TILES = ("13.4.3", "nvcc nvvm crt tileiras nvdisasm cuobjdump")


class NoToolkit(Exception):
    """It is not here and cannot be fetched."""


@functools.cache
def toolkit(which):
    """The folder of a toolkit, fetched where it is not there yet."""
    version, parts = which
    home = CACHE / version
    CACHE.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "CUDA_PARTS": parts, "CUDA_EXTRAS": "", "PYTHON": sys.executable}
    with open(CACHE / f"{version}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run([ROOT / "scripts" / "cuda-toolkit", home, version], env=environment, capture_output=True,
                              text=True)
    if done.returncode:
        raise NoToolkit(f"the toolkit {version} cannot be made: {done.stderr.strip()[-400:] or done.returncode}")
    return home


@functools.cache
def nvrtc():
    lib = toolkit(KERNELS) / "lib64"
    # NVRTC opens its built-in headers by name: they have to be there already
    ctypes.CDLL(str(lib / "libnvrtc-builtins.so"), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(lib / "libnvrtc.so"))


@functools.cache
def ptx(source, architecture=80):
    """A source of crates/kernels/cuda as PTX for an architecture and all later ones."""
    library, program = nvrtc(), ctypes.c_void_p()
    headers = sorted(SOURCES.glob("*.cuh"))
    texts = (ctypes.c_char_p * len(headers))(*(h.read_bytes() for h in headers))
    names = (ctypes.c_char_p * len(headers))(*(h.name.encode() for h in headers))
    text = (SOURCES / f"{source}.cu").read_bytes()
    made = library.nvrtcCreateProgram(ctypes.byref(program), text, f"{source}.cu".encode(), len(headers), texts, names)
    assert made == 0, f"NVRTC refuses {source}.cu: {made}"
    words = [f"--gpu-architecture=compute_{architecture}".encode(), b"--std=c++17"]
    result = library.nvrtcCompileProgram(program, len(words), (ctypes.c_char_p * len(words))(*words))
    log = _text(library, program, "ProgramLog")
    assert result == 0, f"{source}.cu for {architecture}:\n{log}"
    assert not log.strip(), f"{source}.cu for {architecture} has warnings:\n{log}"
    made = _text(library, program, "PTX")
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return made


def _text(library, program, what):
    size = ctypes.c_size_t()
    assert getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)) == 0
    text = ctypes.create_string_buffer(size.value)
    assert getattr(library, f"nvrtcGet{what}")(program, text) == 0
    return text.value.decode()


def assembled(text, architecture, to):
    """What ptxas makes of PTX and says of it, by kernel: {name: {"registers", "stack", "spills", "shared"}}."""
    done = subprocess.run([toolkit(KERNELS) / "bin" / "ptxas", f"--gpu-name=sm_{architecture}", "-v", "-o", to, "-"],
                          input=text, capture_output=True, text=True)
    assert done.returncode == 0, f"ptxas for {architecture}:\n{done.stderr}"
    return usage(done.stderr)


def usage(words):
    """The resources of each kernel, as ptxas -v tells them."""
    kernels = {}
    for part in re.split(r"Compiling entry function '", words)[1:]:
        name = part.split("'", 1)[0]
        stack, stores, loads = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads",
                                         part).groups()
        shared = re.search(r"(\d+) bytes smem", part)
        kernels[name] = {"registers": int(re.search(r"Used (\d+) registers", part).group(1)), "stack": int(stack),
                         "spills": int(stores) + int(loads), "shared": int(shared.group(1)) if shared else 0}
    return kernels
