"""Scumble, diffusers and diffusers compiled on one device, in turn, as long as there is time."""

import json
import sys
import time
from pathlib import Path

import bench_page as page
import gpu_card
import gpu_pictures
from bench_programs import SCUMBLE, STAGES, finished, median

THEIRS = Path(__file__).resolve().parent / "gpu_theirs.py"
MEMORY = "peak memory of the card"
# A thousand times as much is a number that bfloat16 has. A thousand times 3.5 is not: diffusers rounds it to 3504, and that is
# another picture.
GUIDANCE = 4.0
NAMES = {"scumble": "Scumble", "diffusers": "diffusers", "compiled": "diffusers, compiled"}


class Speed:
    """What is drawn where, how often, and what was found."""

    def __init__(self, case, device, dtype, steps, runs, clock, card_known, patience, folder):
        # what each program drew last
        self.drawn = {name: folder / f"speed-{name}.png" for name in NAMES}
        for file in self.drawn.values():
            file.unlink(missing_ok=True)
        self.case, self.device, self.runs, self.clock, self.patience = case, device, runs, clock, patience
        self.few, self.many = steps
        self.dtype = dtype
        self.card_known = card_known
        self.found = {"runs": {name: [] for name in NAMES}, "failed": {}}
        self.left_out = []

    def measure(self, with_scumble, backend):
        """Each program once, then each again; `backend` is that of torch.compile, `None` without torch."""
        programs = {}
        if with_scumble:
            programs["scumble"] = self.scumble
        if backend:
            programs["diffusers"] = lambda: self.theirs(None, self.drawn["diffusers"])
            programs["compiled"] = lambda: self.theirs(backend, self.drawn["compiled"])
        took = {}
        for turn in range(1, self.runs + 1):
            for name, run in programs.items():
                if name in self.found["failed"]:
                    continue
                if (left := self.clock.left()) <= 0 or took.get(name, 0) > left:
                    self.left_out.append(f"{NAMES[name]}, turn {turn} of {self.runs}")
                    print(f"    LEFT OUT: {self.left_out[-1]}: {max(0, left):.0f} s are left", flush=True)
                    continue
                began = time.monotonic()
                self.turn(name, run)
                took[name] = time.monotonic() - began
        self.found["left_out"] = self.left_out
        self.found["apart"] = {name: self.apart(name) for name in ("diffusers", "compiled")}
        return self.found

    def apart(self, name):
        """How far Scumble's picture is from another program's, in levels.

        Not judged: in float32 both draw the same, but in bfloat16 diffusers rounds the moment of a step too, times a thousand, and
        random weights make much of that."""
        files = [self.drawn["scumble"], self.drawn[name]]
        if not all(file.exists() for file in files):
            return None
        apart = gpu_pictures.distance(*files)
        print(f"    pictures of Scumble and {NAMES[name]}: {apart['mean']:.2f} levels of 255 apart on average, {apart['most']} at most",
              flush=True)
        return apart

    def turn(self, name, run):
        """One start of a program; what goes wrong ends that program's turns, not those of others."""
        try:
            with gpu_card.Memory(self.device, self.card_known) as memory:
                result = run()
        except SystemExit as error:
            self.found["failed"][name] = str(error)
            print(f"    {name} FAILED: {error}", flush=True)
            return
        result["card_peak"] = memory.peak
        self.found["runs"][name].append(result)
        pictures = ", ".join(f"{entry['picture']:.2f} s in {entry['steps']} steps" for entry in result["pictures"])
        print(f"    {name}: load {result['load'][-1]:.2f} s, {pictures}", flush=True)

    def scumble(self):
        """Few steps, then many; the first picture of a process is told apart, and loads the kernels."""
        whole = {"load": [], "pictures": [], "first": None}
        for steps, runs in ((self.few, 3), (self.many, 2)):
            command = [SCUMBLE, "bench", "engine", self.case.endpoint, "--weights", self.case.weights, "--device", self.device,
                       "--dtype", self.dtype, "--runs", runs, "--steps", steps, "--size", f"{self.case.size}x{self.case.size}",
                       "-i", f"prompt={self.case.prompt}", "-i", f"max_sequence_length={self.case.tokens}",
                       "-i", f"guidance_scale={GUIDANCE}", "--json", "-o", self.drawn["scumble"]]
            out, _, _ = finished(command, gpu_card.environment(), self.patience)
            rows = {row["stage"]: row["seconds"] for row in json.loads(out)["stages"]}
            drawn = [{"steps": steps, **{key: rows[key][run] for key in (*STAGES[1:], "picture")}} for run in range(runs)]
            whole["first"] = whole["first"] or drawn[0]
            whole["pictures"] += drawn[1:]
            whole["load"] += rows["load"]
        return whole

    def theirs(self, backend, picture):
        command = [sys.executable, "-W", "ignore", THEIRS, self.case.weights, "--prompt", self.case.prompt, "--device", self.device,
                   "--draw", f"{self.few},{self.few},{self.many}", "--size", self.case.size, "--tokens", self.case.tokens,
                   "--guidance", GUIDANCE, "--dtype", self.dtype, "-o", picture]
        command += ["--compile", backend] if backend else []
        out, _, _ = finished(command, gpu_card.environment(), self.patience)
        run = json.loads(out)
        return {**run, "load": [run["load"]]}

    # ------------------------------------------------------------------------------------------------------ table
    def table(self):
        runs = self.found["runs"]
        columns = {name: self.rows(runs[name]) for name in NAMES}
        ours = columns["scumble"]
        head = ["seconds", "Scumble", "diffusers", "ratio", "diffusers, compiled", "ratio"]
        lines = []
        for key in self.rows([]):
            cells = [cell(ours[key], key)]
            for name in ("diffusers", "compiled"):
                cells += [cell(columns[name][key], key), quotient(ours[key], columns[name][key])]
            lines.append([key, *cells])
        return page.table(head, lines)

    def rows(self, runs):
        """What the table has of a program: `{row: its numbers}`.

        A step is what pictures of many steps take more than those of few, by the steps that they have more: so it is the
        same for programs that wait for the card after each stage and for those that do not."""
        pictures = [picture for run in runs for picture in run["pictures"]]
        of = lambda steps: [picture["picture"] for picture in pictures if picture["steps"] == steps]
        few, many = of(self.few), of(self.many)
        middle = median([{"few": few}], "few") if few else 0
        firsts = [run["first"]["picture"] for run in runs]
        return {"load": [number for run in runs for number in run["load"]],
                "a step": [(number - middle) / (self.many - self.few) for number in many] if few else [],
                f"picture, {self.few} steps": few,
                f"picture, {self.many} steps": many,
                f"first picture of the first process, {self.few} steps": firsts[:1],
                f"first picture of later processes, {self.few} steps": firsts[1:],
                MEMORY: [run["card_peak"] for run in runs if run.get("card_peak") is not None]}


def cell(numbers, key):
    if not numbers:
        return "not measured"
    return page.megabytes(max(numbers)) if key == MEMORY else page.seconds([{"key": numbers}], "key")


def quotient(ours, theirs):
    if not ours or not theirs:
        return ""
    return page.ratio([{"key": ours}], [{"key": theirs}], "key")
