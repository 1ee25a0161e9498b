"""Tables, and their places in docs/PERFORMANCE.md: a table stands between two marks, and the text around it is the page's own."""

import datetime
import os
import platform
import re
from pathlib import Path

from bench_programs import median, values

# instruction sets that matter to matrices
INSTRUCTIONS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm")


def cpu():
    """The processor's name and the instruction sets that it has."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(re.findall(r"^(model name|flags|Features)\s*:\s*(.*)$", text, re.M))
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return fields.get("model name", platform.processor() or platform.machine()), flags


def stamp(machine, runs, versions, loads):
    """Under each table: when, where and with what it was measured, and how busy the machine was before and behind it."""
    before, behind = loads
    name, flags = cpu()
    has = ", ".join(flag for flag in INSTRUCTIONS if flag in flags) or "none of the usual extensions"
    isa = "" if machine.isa == "native" else f", both programs held to {machine.isa}"
    runs = f"median of {runs} runs (least to most)" if runs > 1 else "one run"
    return (f"*{datetime.date.today()}, {name} ({has}){isa}, {machine.threads} threads on {os.cpu_count()} cores, {runs}; "
            f"{versions}; load average {before:.1f} before it and {behind:.1f} at its end.*")


def seconds(runs, key):
    """`1.23 (1.20 to 1.31)`, or one number where there is one."""
    numbers = values(runs, key)
    middle = median(runs, key)
    digits = 3 if middle < 1 else 2 if middle < 100 else 1
    text = f"{middle:.{digits}f}"
    return text if len(numbers) < 2 else f"{text} ({min(numbers):.{digits}f} to {max(numbers):.{digits}f})"


def ratio(ours, theirs, key):
    below = median(theirs, key)
    return f"{median(ours, key) / below:.2f}" if below else "–"


def megabytes(count):
    return f"{count / 1e6:.0f} MB"


def table(head, rows):
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def mark(page, part, isa):
    """The name of a part's place: where the page has one for this instruction set, that."""
    own = f"{part}-{isa}"
    return own if f"<!-- measured: {own} -->" in page.read_text(encoding="utf-8") else part


def around(page, name):
    """What stands before and behind the tables of a part, the marks included."""
    text = page.read_text(encoding="utf-8")
    begin, end = f"<!-- measured: {name} -->", f"<!-- end: {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(f"{page} should have {begin} and {end} once each: the tables go between them")
    before, rest = text.split(begin)
    return before + begin, end + rest.split(end)[1]


def put(page, name, body):
    """Puts a part's tables between its marks."""
    before, after = around(page, name)
    page.write_text(f"{before}\n\n{body}\n\n{after}", encoding="utf-8")
