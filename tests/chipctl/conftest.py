"""Chips whose truth a test knows, driven through every byte of the wire."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest

from chipctl.chip import Chip
from chipctl.link import Link
from sim_chip.chip import VirtualChip
from sim_chip.mcu import VirtualMcu
from sim_chip.presets import preset
from sim_chip.server import Endpoint


@pytest.fixture
def make_chip():
    """`make_chip("ideal", conductance=50e-6)`: a driver, and below its wire the chip as `chip.truth`.

    kind: a preset by name, or parameters of one's own.
    kind: a preset's name, or its parameters. conductance: siemens of all devices, or (arrays, rows, cols).
    """
    with ExitStack() as stack:

        def make(kind="ideal", seed=0, *, conductance=None, **options):
            if conductance is not None:
                options["conductance"] = np.broadcast_to(conductance, (3, 64, 64))
            truth = VirtualChip(preset(kind) if isinstance(kind, str) else kind, seed, **options)
            mcu = VirtualMcu(truth)
            board = SimpleNamespace(mcu=mcu, close=mcu.power_down)
            link = stack.enter_context(Link(Endpoint(f"sim://{truth.parameters.name}-{seed}", board)))
            chip = Chip.over(link)
            chip.truth = truth
            chip.mcu, chip.bench = mcu, mcu.bench
            return chip

        yield make


@pytest.fixture
def port(tmp_path):
    """A serial port with a virtual chip behind it, served by a process of its own."""
    command = [sys.executable, "-m", "sim_chip.cli", "serve", "--pty", str(tmp_path / "port")]
    board = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not os.path.exists(tmp_path / "port"):
        time.sleep(0.01)
    yield tmp_path / "port"
    board.terminate()
    board.wait(10)
