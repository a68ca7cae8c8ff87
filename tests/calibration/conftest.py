"""Chips whose truth a test knows, ready to be calibrated."""

from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest

from calibration.bench import Bench
from calibration.procedures import PROCEDURES
from chipctl.chip import Chip
from chipctl.link import Link
from chipctl.results import CalibrationResult
from sim_chip.chip import VirtualChip
from sim_chip.mcu import VirtualMcu
from sim_chip.presets import preset
from sim_chip.server import Endpoint


@pytest.fixture
def make_bench():
    """`make_bench("good", seed)`: array 0, through every byte of the wire; below it `bench.chip.truth`.

    kind: a preset's name, or parameters. conductance: siemens, (rows, cols), of every array.
    """
    with ExitStack() as stack:

        def make(kind="good", seed=0, *, conductance=None, **options):
            if conductance is not None:
                options["conductance"] = np.broadcast_to(conductance, (3, 64, 64))
            truth = VirtualChip(preset(kind) if isinstance(kind, str) else kind, seed, **options)
            mcu = VirtualMcu(truth)
            board = SimpleNamespace(mcu=mcu, close=mcu.power_down)
            chip = Chip.over(stack.enter_context(Link(Endpoint(f"sim://{seed}", board))))
            chip.truth = truth
            return Bench(chip, 0, np.ones((64, 64), bool), np.random.default_rng(seed), quick=True)

        yield make


@pytest.fixture
def calibrated():
    """`calibrated(bench, "adcs", "zeros")`: measure and keep these, as `chipctl calibrate` does."""

    def run(bench, *names):
        for name in names:
            found = PROCEDURES[name].measure(bench)
            result = CalibrationResult.judged(name, found.values, valid_for=found.valid_for, quick=True)
            array = None if name == "rails" else bench.array
            bench.chip.profile.keep(result, array)
        return result

    return run


@pytest.fixture
def pairs_map():
    """Half-normal weights as differential pairs, siemens, (rows, cols)."""
    weights = np.random.default_rng(1).normal(0, 50e-6, (64, 32))
    conductance = np.zeros((64, 64))
    conductance[:, 0::2], conductance[:, 1::2] = np.clip([weights, -weights], 0, 150e-6)
    return conductance
