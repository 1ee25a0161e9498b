"""Both programs, each run in a process of its own: what it took, in the same words."""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCUMBLE = Path(os.environ.get("SCUMBLE_BIN", ROOT / "target" / "release" / "scumble"))
THEIRS = Path(__file__).resolve().parent / "bench_theirs.py"
WATCH = THEIRS.with_name("bench_watch.py")
# A run that takes longer hangs.
PATIENCE = 1800
STAGES = ("load", "text_encode", "denoise", "decode")
# What makes each program leave out instructions that the processor has.
ISA = {"native": {},
       "avx2": {"SCUMBLE_ISA": "avx2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2",
                "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
       "portable": {"SCUMBLE_ISA": "portable", "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41",
                    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}}


@dataclass(frozen=True)
class Case:
    """What is drawn."""

    endpoint: str = "fal-ai/flux/schnell"
    prompt: str = "a cat holding a red sign"
    size: int = 512
    steps: int = 2
    images: int = 1
    tokens: int = 256
    # above 1 for two passes in each step
    guidance: float = 1.0
    weights: Path | None = None
    # how often it is drawn in one process, of which the last counts
    again: int = 1
    flags: tuple = ()


@dataclass
class Machine:
    """How the programs are started."""

    threads: int = 2
    isa: str = "native"
    flags: set = field(default_factory=set)

    def environment(self):
        return {**os.environ, **ISA[self.isa]}

    def torch_has_bfloat16(self):
        """Whether torch has instructions for it; without them a step takes minutes."""
        return self.isa == "native" and bool({"avx512_bf16", "amx_bf16"} & self.flags)


def finished(command, env, patience=PATIENCE):
    """Runs a command to its end: its stdout, its seconds from outside, the most memory it had."""
    words = [str(word) for word in command]
    with tempfile.NamedTemporaryFile() as report:
        watched = [sys.executable, "-S", "-E", WATCH, report.name, *words]
        process = subprocess.Popen(watched, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, start_new_session=True)
        alarm = threading.Timer(patience, os.killpg, (process.pid, signal.SIGKILL))
        alarm.start()
        out, said = process.communicate()
        alarm.cancel()
        if process.returncode:
            text = said.decode(errors="replace")[-2000:]
            sys.exit(f"{' '.join(words)} ended with {process.returncode} (the most that it may take are {patience} s):\n{text}")
        seconds, peak = Path(report.name).read_text().split()
    return out, float(seconds), int(peak)


def scumble(machine, case, dtype=None, threads=None, picture=None):
    """One picture by `scumble bench engine`."""
    command = [SCUMBLE, "bench", "engine", case.endpoint, "--runs", case.again, "--json", "--size", f"{case.size}x{case.size}",
               "--steps", case.steps, "--threads", threads or machine.threads, "-i", f"prompt={case.prompt}",
               "-i", f"num_images={case.images}", "-i", f"max_sequence_length={case.tokens}", *case.flags]
    if case.guidance > 1:
        command += ["-i", f"guidance_scale={case.guidance}"]
    if case.endpoint != "scumble/starter":
        command += ["--weights", case.weights]
    command += ["--dtype", dtype] if dtype else []
    command += ["-o", picture] if picture else []
    out, _, _ = finished(command, machine.environment())
    report = json.loads(out)
    rows = {row["stage"]: row for row in report["stages"]}
    last = lambda stage: rows[stage]["seconds"][-1]
    run = {stage: last(stage) for stage in (*STAGES, "picture")}
    # adapters aside, all that is multiplied is counted
    work = {"share": rows["step"].get("share"), "gflops": rows["step"].get("gflops"), "peak_gflops": report["peak"]["gflops"]}
    # what encoders multiply, each multiplication and addition counted
    work["texts_gflop"] = rows["text_encode"].get("gflop", 0.0)
    steps = rows["step"]["seconds"]
    return {**run, "step": steps[-(len(steps) // case.again):], "memory": report["memory"], "dtype": report["dtype"], **work}


def diffusers(machine, case, dtype="float32", threads=None, picture=None):
    """The same by diffusers."""
    threads = threads or machine.threads
    command = [sys.executable, "-W", "ignore", THEIRS, case.weights, "--prompt", case.prompt, "--size", case.size, "--steps",
               case.steps, "--images", case.images, "--tokens", case.tokens, "--guidance", case.guidance, "--dtype", dtype,
               "--threads", threads, "--runs", case.again]
    command += ["-o", picture] if picture else []
    out, seconds, peak = finished(command, machine.environment() | {"OMP_NUM_THREADS": str(threads)})
    return {**json.loads(out), "command": seconds, "command_peak": peak}


def command(machine, case):
    """`scumble run` as a person types it: seconds and memory from outside."""
    with tempfile.TemporaryDirectory() as folder:
        words = [SCUMBLE, "run", case.endpoint, case.prompt, "--seed", 1, "-o", Path(folder, "x.png"), "-i",
                 f"num_inference_steps={case.steps}", "-i", f"image_size={case.size}x{case.size}"]
        _, seconds, peak = finished(words, machine.environment() | {"RAYON_NUM_THREADS": str(machine.threads)})
    return {"command": seconds, "command_peak": peak}


def median(runs, key):
    return statistics.median(values(runs, key))


def values(runs, key):
    """All numbers under a key, those of all steps in one list."""
    found = [run[key] for run in runs]
    return [number for entry in found for number in (entry if isinstance(entry, list) else [entry])]
