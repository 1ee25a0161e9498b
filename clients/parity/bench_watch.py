"""Runs a command and writes down its seconds and the most memory that it had.

A process of its own because Linux counts a program's memory from before it was started: from whoever started it, which here is
small.
"""

import os
import subprocess
import sys
import time

report, *command = sys.argv[1:]
began = time.perf_counter()
process = subprocess.Popen(command)
_, status, usage = os.wait4(process.pid, 0)
with open(report, "w", encoding="utf-8") as file:
    file.write(f"{time.perf_counter() - began} {usage.ru_maxrss * 1024}")
code = os.waitstatus_to_exitcode(status)
sys.exit(code if code >= 0 else 128 - code)
