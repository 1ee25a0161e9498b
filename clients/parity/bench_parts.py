"""What is measured, one function for each part: gives what it found and its tables."""

import ctypes
import mmap
import os
import shutil
from dataclasses import replace
from pathlib import Path

import bench_page as page
from bench_programs import ROOT, SCUMBLE, Case, command, diffusers, finished, median, scumble

STARTER = Case(endpoint="scumble/starter", prompt="two small yellow stars on a purple background", size=256, steps=16,
               tokens=32, guidance=2.0, weights=ROOT / "starter" / "weights")
FLUX = Case()
SD35 = Case(endpoint="fal-ai/stable-diffusion-v35-large", flags=("-i", "guidance_scale=1"))
HIDREAM = Case(endpoint="fal-ai/hidream-i1-fast", tokens=128)
# behind the name of a format: what it is multiplied with is not rounded
EXACT = ", `--dtype float32`"
ROWS = ("load", "text_encode", "step", "denoise", "decode", "picture")


def distance(a, b):
    """Mean and largest difference of two pictures, in levels of 255."""
    import numpy as np
    from PIL import Image

    a, b = (np.asarray(Image.open(path).convert("RGB"), np.int16) for path in (a, b))
    apart = np.abs(a - b)
    return {"mean": float(apart.mean()), "most": int(apart.max())}


class Bench:
    """The machine, how often, how large, and a folder for checkpoints."""

    def __init__(self, machine, runs, tiny, folder, with_torch):
        self.machine, self.runs, self.tiny, self.folder, self.with_torch = machine, runs, tiny, Path(folder), with_torch
        # how often the last part was measured
        self.taken = 0

    def in_turn(self, runs, programs):
        """Each program once, then each again: `{name: what its runs took}`."""
        self.taken, found = runs, {name: [] for name in programs}
        for _ in range(runs):
            for name, run in programs.items():
                took = run()
                found[name].append(took)
                print(f"    {name}: {took.get('picture', took.get('command')):.2f} s", flush=True)
        return found

    def sized(self, case, size):
        return replace(case, size=64 if self.tiny else size)

    def checkpoint(self, name, make, sizes):
        """A checkpoint, made once; one that is only half made has another name."""
        folder = self.folder / f"{name}{'-tiny' if self.tiny else ''}"
        if not folder.exists():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            make(part, None if self.tiny else sizes)
            part.rename(folder)
        return folder

    def mid_size(self):
        import bench_weights

        return self.checkpoint("mid-size", bench_weights.flux, bench_weights.MID_SIZE)

    # ---------------------------------------------------------------------------------------------- starter
    def starter(self):
        """The model in the binary: stages, and the whole command."""
        case = replace(self.sized(STARTER, 256), steps=2 if self.tiny else 16)
        programs = {"scumble": lambda: scumble(self.machine, case), "command": lambda: command(self.machine, case)}
        if self.with_torch:
            programs["diffusers"] = lambda: diffusers(self.machine, case)
        found = self.in_turn(self.runs, programs)
        ours, theirs, whole = found["scumble"], found.get("diffusers"), found["command"]
        rows = [row(key, ours, theirs) for key in ROWS]
        rows.append(["**whole command**", page.seconds(whole, "command"), *beside(whole, theirs, "command")])
        rows.append(["its peak memory", memory_cell(whole), memory_cell(theirs), memory_ratio(whole, theirs)])
        return found, page.table(["seconds", "Scumble", "diffusers", "ratio"], rows)

    # ------------------------------------------------------------------------------------------------- flux
    def flux(self):
        """The mid-size FLUX in both number types."""
        case = replace(self.sized(FLUX, 512), weights=self.mid_size())
        files = {name: self.folder / f"{name}.png" for name in ("scumble", "diffusers")}
        programs = {"scumble float32": lambda: scumble(self.machine, case, "float32", picture=files["scumble"]),
                    "diffusers float32": lambda: diffusers(self.machine, case, picture=files["diffusers"]),
                    "scumble bfloat16": lambda: scumble(self.machine, case, "bfloat16")}
        if self.machine.torch_has_bfloat16():
            programs["diffusers bfloat16"] = lambda: diffusers(self.machine, case, "bfloat16")
        else:
            print("SKIPPED: torch's bfloat16: no instructions for it here, a step would take minutes; Scumble's is compared "
                  "with torch's float32", flush=True)
        found = self.in_turn(self.runs, programs)
        apart = distance(*files.values())
        wide, half = found["diffusers float32"], found.get("diffusers bfloat16")
        ours = [found["scumble float32"], found["scumble bfloat16"]]
        head = ["seconds", "Scumble, float32", "diffusers, float32", "ratio", "Scumble, bfloat16"]
        head += ["diffusers, bfloat16", "ratio"] if half else ["ratio to diffusers' float32"]

        def line(key):
            cells = row(key, ours[0], wide) + [page.seconds(ours[1], key)]
            return cells + ([page.seconds(half, key)] if half else []) + [page.ratio(ours[1], half or wide, key)]

        rows = [line(key) for key in ROWS]
        peaks = lambda runs: median([run["memory"] for run in runs], "peak")
        cells = ["peak memory", page.megabytes(peaks(ours[0])), page.megabytes(peaks(wide)), f"{peaks(ours[0]) / peaks(wide):.2f}",
                 page.megabytes(peaks(ours[1]))]
        rows.append(cells + ([page.megabytes(peaks(half))] if half else []) + [f"{peaks(ours[1]) / peaks(half or wide):.2f}"])
        share = lambda runs: f"{100 * median(runs, 'share'):.0f} %, of {max(run['peak_gflops'] for run in runs):.0f} GFLOP/s"
        rows.append(["a step's share of the peak", share(ours[0]), "", "", share(ours[1]), *([""] if half else []), ""])
        text = page.table(head, rows)
        said = f"The two float32 pictures are {apart['mean']:.3f} levels of 255 apart on average, {apart['most']} at most."
        return {**found, "distance": apart}, f"{text}\n\n{said}"

    # ------------------------------------------------------------------------------------------------ slice
    def slice(self):
        """Blocks of true width: a step in each format, beside diffusers in the number types that it has."""
        import bench_weights

        folder = self.checkpoint("slice", bench_weights.large, bench_weights.TRUE_WIDTH)
        return self.one_step(replace(FLUX, weights=folder), {"q8_0": "Q8_0", "q4_k": "Q4_K"})

    def one_step(self, case, kinds):
        """A step of 1024x1024 with every number type and with what `models quantize` makes."""
        case = replace(self.sized(case, 1024), steps=1)
        programs = {"Scumble, bfloat16 files": lambda: scumble(self.machine, case)}
        if self.machine.torch_has_bfloat16():
            programs["Scumble, bfloat16"] = lambda: scumble(self.machine, case, "bfloat16")
        files = {name: self.quantized(case.weights, kind, case.endpoint) for kind, name in kinds.items()}
        for name, file in files.items():
            asked = replace(case, flags=(*case.flags, "--component", f"transformer={file}"))
            programs[f"Scumble, {name}"] = lambda asked=asked: scumble(self.machine, asked)
        programs["diffusers, float32"] = lambda: diffusers(self.machine, case)
        if self.machine.torch_has_bfloat16():
            programs["diffusers, bfloat16"] = lambda: diffusers(self.machine, case, "bfloat16")
        found = self.in_turn(max(1, self.runs - 1), programs)
        for file in files.values():
            file.unlink()
        wide, half = found["diffusers, float32"], found.get("diffusers, bfloat16")

        def line(name, runs):
            shares = [run["share"] for run in runs if run.get("share")]
            peak = median([run["memory"] for run in runs], "peak")
            ratios = [page.ratio(runs, wide, "step")] + ([page.ratio(runs, half, "step")] if half else [])
            return [name, page.seconds(runs, "step"), *ratios, f"{100 * max(shares):.0f} %" if shares else "", page.megabytes(peak)]

        head = ["", "seconds a step", "by diffusers' float32"] + (["by diffusers' bfloat16"] if half else [])
        return found, page.table([*head, "of the peak in float32", "peak memory"], [line(name, runs) for name, runs in found.items()])

    # ----------------------------------------------------------------------------------------------- slices
    def slices(self):
        """The same for blocks of other models."""
        import bench_weights

        models = {"Stable Diffusion 3.5 Large, two joint blocks": (SD35, bench_weights.sd35, bench_weights.SD35_WIDTH),
                  "HiDream-I1, a double and a single block": (HIDREAM, bench_weights.hidream, bench_weights.HIDREAM_WIDTH)}
        found, text = {}, []
        for name, (case, make, sizes) in models.items():
            folder = self.checkpoint(f"slice-of-{case.endpoint.split('/')[1]}", make, sizes)
            found[name], rows = self.one_step(replace(case, weights=folder), {"q8_0": "Q8_0"})
            text.append(f"{name}:\n\n{rows}")
        return found, "\n\n".join(text)

    # ------------------------------------------------------------------------------------------------ texts
    def texts(self):
        """Text encoders of true width."""
        import bench_weights

        short = {"steps": 1, "again": 2}
        encoders = {"T5-XXL, 2 of 24 layers, 512 tokens": ("t5-xxl", replace(FLUX, tokens=512, **short), bench_weights.large,
                                                           bench_weights.T5_XXL),
                    "CLIP-bigG, 8 of 32 layers, 77 tokens": ("clip-g", replace(SD35, **short), bench_weights.sd35_without_t5,
                                                             bench_weights.CLIP_G),
                    "Llama-3.1-8B, 2 of 32 layers, 128 tokens": ("llama", replace(HIDREAM, **short), bench_weights.hidream,
                                                                 bench_weights.LLAMA)}
        dtypes = ("float32", "bfloat16") if self.machine.torch_has_bfloat16() else ("float32",)
        programs, places = {}, [(name, dtype) for name in encoders for dtype in dtypes]
        for name, dtype in places:
            folder, case, make, sizes = encoders[name]
            case = replace(case, size=64, weights=self.checkpoint(folder, make, sizes))
            programs[f"scumble {name} {dtype}"] = lambda case=case, dtype=dtype: scumble(self.machine, case, dtype)
            programs[f"diffusers {name} {dtype}"] = lambda case=case, dtype=dtype: diffusers(self.machine, case, dtype)
        found = self.in_turn(self.runs, programs)

        def line(name, dtype):
            ours, theirs = (found[f"{program} {name} {dtype}"] for program in ("scumble", "diffusers"))
            shares = [run["texts_gflop"] / run["text_encode"] / run["peak_gflops"] for run in ours]
            cells = row("text_encode", ours, theirs)[1:]
            return [name, dtype, *cells, f"{100 * max(shares):.0f} %"]

        head = ["encoder", "computed in", "Scumble", "diffusers", "ratio", "of the peak in float32"]
        return found, page.table(head, [line(*place) for place in places])

    # ---------------------------------------------------------------------------------------------- formats
    def formats(self):
        """The transformer in smaller files: what it costs in the picture, what it saves in memory."""
        folder = self.mid_size()
        case = replace(self.sized(FLUX, 256), weights=folder, steps=4)
        files, programs = dict(self.files(folder)), {}
        picture = lambda name: self.folder / f"format-{list(files).index(name)}.png"
        for name, file in files.items():
            asked = replace(case, flags=("--component", f"transformer={file}") if file else ())
            dtype = "float32" if name.endswith(EXACT) else None
            programs[name] = lambda asked=asked, name=name, dtype=dtype: scumble(self.machine, asked, dtype, picture=picture(name))
        # four steps each are enough to see how far they spread
        runs = self.in_turn(max(1, self.runs // 2), programs)
        own = sum(file.stat().st_size for file in (folder / "transformer").glob("*.safetensors"))
        found = {name: {"runs": runs[name], "file": file.stat().st_size if file else own,
                        "distance": distance(picture("float32"), picture(name))} for name, file in files.items()}
        for file in filter(None, files.values()):
            file.unlink(missing_ok=True)
        rows = [self.format_row(name, entry) for name, entry in found.items()]
        head = ["transformer", "file", "mean distance", "largest", "seconds a step", "memory, loaded", "of it files", "peak memory"]
        return found, page.table(head, rows)

    def files(self, folder):
        """Names and files of the transformer; the first is in full precision and the folder's own."""
        import bench_weights

        yield "float32", None
        for name, encoding in (("bfloat16", "safetensors-bf16"), ("fp8 (e4m3)", "fp8-plain"), ("fp8 (e4m3), scaled", "fp8-scaled"),
                               ("Q8_0, simply rounded", "gguf-Q8_0"), ("Q4_K, simply rounded", "gguf-Q4_K")):
            end = "gguf" if encoding.startswith("gguf") else "safetensors"
            yield name, bench_weights.transformer_file(folder, self.folder / f"{encoding}.{end}", encoding)
        for kind, name in (("q8_0", "Q8_0"), ("q4_k", "Q4_K")):
            file = self.quantized(folder, kind)
            yield f"{name}, by `models quantize`", file
            yield f"{name}, by `models quantize`{EXACT}", file

    def quantized(self, folder, kind, endpoint=FLUX.endpoint):
        """A folder's transformer as `models quantize` makes it."""
        file = self.folder / f"own-{kind}.gguf"
        file.unlink(missing_ok=True)
        words = ["models", "quantize", endpoint, "--to", kind, "--weights", folder, "-o", file]
        finished([SCUMBLE, *words], self.machine.environment())
        return file

    def format_row(self, name, entry):
        runs, apart = entry["runs"], entry["distance"]
        loaded = [run["memory"]["loaded"] for run in runs]
        peak = median([run["memory"] for run in runs], "peak")
        return [name, page.megabytes(entry["file"]), f"{apart['mean']:.2f}", apart["most"], page.seconds(runs, "step"),
                page.megabytes(median(loaded, "resident")), page.megabytes(median(loaded, "files")), page.megabytes(peak)]

    # ------------------------------------------------------------------------------------------------- load
    def load(self):
        """A checkpoint of 2 GB: seconds until it is loaded and until a small picture is there, memory."""
        import bench_weights

        folder = self.checkpoint("large", bench_weights.large, bench_weights.TWO_GIGABYTES)
        files = sorted(folder.rglob("*.safetensors"))
        case = Case(weights=folder, size=64, steps=1, tokens=16)
        # where torch takes minutes for a picture in bfloat16, nobody loads it so
        dtype = "bfloat16" if self.machine.torch_has_bfloat16() else "float32"
        programs = {"scumble": lambda: scumble(self.machine, case, dtype), "diffusers": lambda: diffusers(self.machine, case, dtype)}
        found = {"bytes": sum(file.stat().st_size for file in files), "dtype": dtype}
        for state, prepare in (("cold", drop), ("warm", warm)):
            found[state] = self.in_turn(self.runs, {name: lambda run=run: prepared(prepare, files, run) for name, run in programs.items()})
        rows = [line for state in ("cold", "warm") for line in load_rows(state, **found[state])]
        head = ["files", "", "Scumble", "diffusers", "ratio"]
        return found, f"{page.megabytes(found['bytes'])} of weights, computed in {dtype}.\n\n{page.table(head, rows)}"

    # ----------------------------------------------------------------------------------------------- growth
    def growth(self):
        """How time grows with pixels, steps and pictures."""
        flux = replace(self.sized(FLUX, 256), weights=self.mid_size(), steps=1)
        sizes = (64, 96) if self.tiny else (128, 256, 512)
        cases = {f"{size}×{size}, 1 step": replace(flux, size=size) for size in sizes}
        cases |= {f"{flux.size}×{flux.size}, {steps} steps": replace(flux, steps=steps) for steps in (2, 4)}
        cases |= {f"{flux.size}×{flux.size}, 1 step, {images} pictures": replace(flux, images=images) for images in (2, 4)}
        found = self.in_turn(1, {name: lambda case=case: scumble(self.machine, case, "float32") for name, case in cases.items()})
        rows = [[name, *(page.seconds(runs, key) for key in ("step", "denoise", "decode", "picture")),
                 page.megabytes(runs[0]["memory"]["peak"])] for name, runs in found.items()]
        return found, page.table(["picture", "a step", "all steps", "decode", "picture", "peak memory"], rows)

    # ---------------------------------------------------------------------------------------------- threads
    def threads(self):
        """One thread and two."""
        case = replace(self.sized(FLUX, 256), weights=self.mid_size(), steps=1)
        programs = {}
        for threads in (1, 2):
            programs[f"scumble {threads}"] = lambda threads=threads: scumble(self.machine, case, "float32", threads)
            programs[f"diffusers {threads}"] = lambda threads=threads: diffusers(self.machine, case, threads=threads)
        found = self.in_turn(max(1, self.runs - 1), programs)
        rows = []
        for name in ("scumble", "diffusers"):
            one, two = found[f"{name} 1"], found[f"{name} 2"]
            for key in ("step", "decode"):
                rows.append([name.capitalize() if name == "scumble" else name, key, page.seconds(one, key), page.seconds(two, key),
                             f"{median(one, key) / median(two, key):.2f}"])
        return found, page.table(["", "seconds", "1 thread", "2 threads", "faster by"], rows)


def row(key, ours, theirs):
    return [key, page.seconds(ours, key), *beside(ours, theirs, key)]


def beside(ours, theirs, key):
    return [page.seconds(theirs, key), page.ratio(ours, theirs, key)] if theirs else ["not measured", ""]


def memory_cell(runs):
    return page.megabytes(median(runs, "command_peak")) if runs else "not measured"


def memory_ratio(ours, theirs):
    return page.ratio(ours, theirs, "command_peak") if theirs else ""


def load_rows(state, scumble, diffusers):
    """Seconds and memory of one state of the files."""
    def with_sums(runs):
        grown = [run["memory"]["loaded"]["resident"] - run["memory"]["before"]["resident"] for run in runs]
        return [{**run, "first": run["load"] + run["picture"], "grown": grown} for run, grown in zip(runs, grown)]

    ours, theirs = with_sums(scumble), with_sums(diffusers)
    memory = lambda runs, key: page.megabytes(median(runs, key))
    return [[state, "load", *row("load", ours, theirs)[1:]],
            [state, "load and a first small picture", *row("first", ours, theirs)[1:]],
            [state, "memory that loading takes", memory(ours, "grown"), memory(theirs, "grown"), page.ratio(ours, theirs, "grown")]]


# ------------------------------------------------------------------------------------- files in the page cache
def prepared(prepare, files, run):
    prepare(files)
    return run()


def warm(files):
    """Reads them."""
    for file in files:
        with open(file, "rb", buffering=0) as f:
            while f.read(1 << 22):
                pass


def drop(files):
    """Takes them out of the page cache of this machine; what a disk keeps below it is not in our hands."""
    os.sync()
    for file in files:
        with open(file, "rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    left = max(cached(file) for file in files)
    if left > 0.05:
        raise SystemExit(f"{left:.0%} of a file stayed in memory: what would be measured is not a cold cache")


def cached(file):
    """The share of a file's pages that is in memory."""
    with open(file, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        pages = -(-len(mapped) // mmap.PAGESIZE)
        seen = (ctypes.c_ubyte * pages)()
        place = ctypes.c_char.from_buffer(mapped)
        failed = ctypes.CDLL(None, use_errno=True).mincore(ctypes.c_void_p(ctypes.addressof(place)), ctypes.c_size_t(len(mapped)), seen)
        del place
        if failed:
            raise OSError(ctypes.get_errno(), "mincore")
        return sum(page & 1 for page in seen) / pages
