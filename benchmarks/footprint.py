"""Prints by how many bytes a process grows per virtual chip in use: `python -m benchmarks.footprint`."""

import os
from pathlib import Path

import numpy as np

from sim_chip import VirtualChip, preset

CHIPS = 8


def resident_bytes() -> int:
    """Memory this process holds now."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def used_chip(seed: int) -> VirtualChip:
    """A chip of three arrays that has multiplied on each."""
    chip = VirtualChip(preset("good"), seed)
    for array in range(chip.parameters.arrays):
        chip.multiply(array, np.ones((64, 64)))
    return chip


if __name__ == "__main__":
    kept = [used_chip(0)]
    before = resident_bytes()
    kept += [used_chip(seed) for seed in range(1, CHIPS + 1)]
    print((resident_bytes() - before) / CHIPS)
