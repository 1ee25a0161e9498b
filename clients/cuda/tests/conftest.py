"""Kernels of NVIDIA cards on a machine without one: compiled for each card, executed by the CPU."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
