"""What nvidia-smi tells of a card: its name, and how much of its memory is taken while something runs."""

import csv
import os
import shutil
import subprocess
import threading

ASKED = ("name", "driver_version", "compute_cap", "memory.total", "memory.free", "utilization.gpu", "temperature.gpu", "power.limit")
MIB = 1 << 20
# milliseconds between two looks at its memory
OFTEN = 100


def environment():
    """Both programs and nvidia-smi count cards in the same order."""
    return {**os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def identity(device):
    """`cuda:1` as nvidia-smi calls it: a number, or what CUDA_VISIBLE_DEVICES has in that place; `None` for a processor."""
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return None
    index, shown = int(index or 0), [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return shown[index] if index < len(shown) else str(index)


def asked(device):
    """What nvidia-smi says of a card, or why it says nothing: `(facts, what is lacking)`."""
    if not shutil.which("nvidia-smi"):
        return None, "nvidia-smi, which comes with NVIDIA's driver: the card's name and memory are not known"
    command = ["nvidia-smi", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader,nounits", "-i", identity(device)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)
    except subprocess.TimeoutExpired:
        return None, "an answer of nvidia-smi: it gave none in a minute"
    rows = list(csv.reader(done.stdout.splitlines(), skipinitialspace=True))
    if done.returncode or len(rows) != 1 or len(rows[0]) != len(ASKED):
        return None, f"a card {device} that nvidia-smi knows: {(done.stderr or done.stdout).strip() or 'it said nothing'}"
    facts = dict(zip(ASKED, rows[0]))
    for key in ("memory.total", "memory.free"):
        # where nvidia-smi does not know, it says so in brackets
        facts[key] = int(facts[key]) * MIB if facts[key].isdigit() else None
    return facts, None


class Memory:
    """The most memory of a card that was taken while something ran, less what was taken before: `peak` in bytes, `None` unknown.

    A look every tenth of a second: what is taken for less than that may be missed. Others on the same card are counted too."""

    def __init__(self, device, known):
        self.device, self.known, self.peak, self.seen = device, known, None, []

    def __enter__(self):
        if self.known:
            command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-lms", str(OFTEN), "-i",
                       identity(self.device)]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment())
            first = self.process.stdout.readline().strip()
            self.before = int(first) if first.isdigit() else None
            self.reader = threading.Thread(target=self.read, daemon=True)
            self.reader.start()
        return self

    def read(self):
        for line in self.process.stdout:
            if line.strip().isdigit():
                self.seen.append(int(line))

    def __exit__(self, *_):
        if not self.known:
            return
        self.process.terminate()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()
        if self.before is not None and self.seen:
            self.peak = max(0, max(self.seen) - self.before) * MIB
