#!/usr/bin/env python3
"""Scumble beside two Python servers, driven by the same generator in the same run.

    python clients/bench/serve.py [--seconds 3] [--connections 1,16,64] [--only scumble,litserve,queue] [--markdown]
                                  [--json FILE]

Starts each server alone, measures it with `scumble bench serve`, and stops it:

- scumble: `scumble serve --stand-in=0`, its drawing included;
- litserve: a LitServe that does nothing (litserve_noop.py), direct calls only;
- queue: FastAPI over PostgreSQL with one worker (fastapi_queue.py), in the database that DATABASE_URL names.

Needs `cargo build --release` and `pip install -r clients/bench/requirements.txt`. What is not installed is left out, and
that is said. How busy the machine was before each server is printed too: what else ran takes from all of them.
"""

import argparse
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCUMBLE = Path(os.environ.get("SCUMBLE_BIN", HERE.parents[1] / "target" / "release" / "scumble"))
CALLS = ("direct call", "submit to result", "status", "submit")


def measure(args, *arguments):
    """One run of the generator; its JSON."""
    command = [SCUMBLE, "bench", "serve", "--json", "--seconds", str(args.seconds), "--connections", args.connections]
    done = subprocess.run([*command, *arguments], stdout=subprocess.PIPE, text=True)
    if not done.stdout:
        sys.exit(f"scumble bench serve failed with code {done.returncode}")
    if done.returncode:
        print(f"  some calls were refused (exit code {done.returncode})", file=sys.stderr)
    return json.loads(done.stdout)


def beside(args, script, shape):
    """Starts a Python server on a free port, measures it and stops it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # a session of its own, because LitServe leaves its workers behind when it is told to stop
    command = [sys.executable, HERE / script, str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        listening(server, port)
        return measure(args, f"http://127.0.0.1:{port}", "--shape", shape)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def listening(server, port):
    for _ in range(600):
        if server.poll() is not None:
            sys.exit(f"the server ended with code {server.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("the server does not listen")


def missing(*modules):
    return [name for name in modules if importlib.util.find_spec(name) is None]


def servers(args):
    """Name and report of each server that can be measured here."""
    wanted = args.only.split(",")
    if "scumble" in wanted:
        yield "scumble", beginning("scumble") | measure(args)
    for name, script, shape, modules in (
        ("litserve", "litserve_noop.py", "plain-direct", ["litserve"]),
        ("queue", "fastapi_queue.py", "plain-queue", ["fastapi", "uvicorn", "asyncpg"]),
    ):
        if name not in wanted:
            continue
        absent = missing(*modules)
        if name == "queue" and not os.environ.get("DATABASE_URL"):
            absent.append("a database named by DATABASE_URL")
        if absent:
            print(f"NOT MEASURED: {name} needs {', '.join(absent)}", file=sys.stderr)
            continue
        yield name, beginning(name) | beside(args, script, shape)


def beginning(name):
    """Says what is measured now; how busy the machine is before."""
    print(f"measuring {name}", file=sys.stderr)
    return {"busy_cores_before": busy_cores()}


def busy_cores(seconds=2):
    """How many cores others use, where the system tells."""
    def ticks():
        with open("/proc/stat", encoding="ascii") as stat:
            numbers = [int(word) for word in stat.readline().split()[1:9]]
        return sum(numbers) - numbers[3] - numbers[4], sum(numbers)

    try:
        busy, total = ticks()
        time.sleep(seconds)
        busy_then, total_then = ticks()
    except OSError:
        return None
    return round((busy_then - busy) / max(total_then - total, 1) * os.cpu_count(), 2)


def markdown(reports):
    """The same numbers for docs/BENCHMARKS.md."""
    rows = {(name, row["call"], row["connections"]): row for name, report in reports.items() for row in report["rows"]}
    lines = ["| call | connections | " + " | ".join(f"{name}: median, p99, per second" for name in reports) + " |"]
    lines.append("|---|---|" + "---|" * len(reports))
    for call, n in dict.fromkeys((call, n) for call in CALLS for (_, c, n) in sorted(rows) if c == call):
        cells = []
        for name in reports:
            row = rows.get((name, call, n))
            measured = row is not None and row["median_ms"] is not None
            cells.append(f"{row['median_ms']:.2f} ms, {row['p99_ms']:.2f} ms, {row['per_second']:.0f}" if measured else "–")
        lines.append(f"| {call} | {n} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def table(reports):
    """Rows of call and connections; for each server median, p99 and rate, and how many times Scumble's rate is its."""
    cells = {(name, row["call"], row["connections"]): row for name, report in reports.items() for row in report["rows"]}
    connections = sorted({row["connections"] for report in reports.values() for row in report["rows"]})
    lines = ["call              conn." + "".join(f"  {name:^38}" for name in reports)]
    lines.append(" " * 23 + "".join(f"  {'median ms':>10}{'p99 ms':>9}{'per s':>9}{'ratio':>10}" for _ in reports))
    for call in CALLS:
        for n in connections:
            line = f"{call:<18}{n:>5}"
            own = cells.get(("scumble", call, n))
            for name in reports:
                line += "  " + cell(cells.get((name, call, n)), own if name != "scumble" else None)
            lines.append(line)
    return "\n".join(lines)


def cell(row, own):
    if row is None or row["median_ms"] is None:
        return f"{'-':>10}{'-':>9}{'-':>9}{'':>10}"
    ratio = f"{own['per_second'] / row['per_second']:.1f}x" if own and row["per_second"] else ""
    return f"{row['median_ms']:>10.2f}{row['p99_ms']:>9.2f}{row['per_second']:>9.0f}{ratio:>10}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--connections", default="1,16,64")
    parser.add_argument("--only", default="scumble,litserve,queue")
    parser.add_argument("--markdown", action="store_true", help="print the table as docs/BENCHMARKS.md has it")
    parser.add_argument("--json", type=Path, help="write all reports to this file")
    args = parser.parse_args()
    reports = dict(servers(args))
    if not reports:
        sys.exit("nothing was measured")
    print(markdown(reports) if args.markdown else table(reports))
    busy = ", ".join(f"{report['busy_cores_before']} before {name}" for name, report in reports.items())
    print(f"\n{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, of which others kept busy: {busy}")
    own = reports.get("scumble", {})
    if "ready_ms" in own:
        print(f"\nscumble: process start to ready {own['ready_ms']:.1f} ms, {own.get('idle_resident_mb', 0):.1f} MB resident "
              "when idle")
    print("ratio: how many times the server's rate Scumble reaches")
    if args.json:
        args.json.write_text(json.dumps(reports, indent=1) + "\n")


if __name__ == "__main__":
    main()
