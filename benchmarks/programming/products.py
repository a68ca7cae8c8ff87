"""Products before and after calibration, and whether calibrated parameters are as certain as they say."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from benchmarks.measure import ANY, Bound, Measured, Plan, Scale, at_most
from benchmarks.programming.bench import ARRAY, RELAXED_SECONDS, SPAN, Floats, Mask, chip_of, seeds_of
from calibration.calibrate import Order, calibrate, tasks_of
from calibration.procedures import in_order
from calibration.products import full_scale, pair_outputs
from chipctl.chip import Chip
from chipctl.programming import program
from sim_chip import preset

VECTORS = 1000
READS = (1, 16)
"""Of each phase, averaged."""
SINGLE_READS = 100
BOUNDS = {1: 1.5, 16: 0.8}
"""σ of the error against the read-back conductances once calibrated, % of full scale."""
CHIPS = {Scale.QUICK: 3, Scale.FULL: 5}
COVERED = Bound(0.5, 1.5)
"""Root mean square of errors over stated uncertainties; 1 where they are Gaussian and as stated."""


def measure(plan: Plan) -> Iterator[Measured]:
    """Errors of products before and after, of several chips, and the pulls of what was calibrated."""
    errors: dict[str, list[float]] = defaultdict(list)
    pulls: dict[str, list[float]] = defaultdict(list)
    for seed in seeds_of(plan, CHIPS[plan.scale]):
        with chip_of(seed) as (chip, healthy):
            target = _pairs_map(seed)
            program(chip, ARRAY, target, mask=healthy)
            chip.wait(RELAXED_SECONDS)
            _add(errors, "uncalibrated", chip, (target, healthy))
            _calibrate(chip, ["tias", "lines", "transistor", "products"], seed)
            _add(errors, "calibrated", chip, (target, healthy))
            for name, pull in _line_pulls(chip).items():
                pulls[name].append(pull)
            _calibrate(chip, ["fluctuation"], seed)
            for name, pull in _fluctuation_pulls(chip).items():
                pulls[name].append(pull)
    for name, values in errors.items():
        reads = int(name.split()[-2])
        bound = at_most(BOUNDS[reads]) if name.startswith("calibrated products against reads") else ANY
        yield Measured(name, "%", bound, tuple(values))
    for name, values in pulls.items():
        yield Measured(f"{name}: error over uncertainty", "σ", ANY, tuple(values))
    everything = [pull for values in pulls.values() for pull in values]
    rms = float(np.sqrt(np.mean(np.square(everything))))
    yield Measured("calibrated parameters: rms of error over uncertainty", "", COVERED, (rms,))


def _pairs_map(seed: int) -> Floats:
    """Half-normal weights as differential pairs over the span, (rows, cols)."""
    weights = np.random.default_rng(seed).normal(0, SPAN / 3, (64, 32))
    target = np.zeros((64, 64))
    target[:, 0::2], target[:, 1::2] = np.clip([weights, -weights], 0, SPAN)
    return target


def _add(errors: dict[str, list[float]], state: str, chip: Chip, wanted: tuple[Floats, Mask]) -> None:
    """Errors of pair outputs over full scale, against single reads and against targets, %.

    Stuck devices miss their targets whatever is done; "programmed targets" has them at what they read.
    """
    target, healthy = wanted
    rng = np.random.default_rng(0)
    volts = chip.readout.read_volts
    signs = rng.choice([-volts, volts], (VECTORS, chip.rows))
    read = chip.read(ARRAY, reads=SINGLE_READS)
    scale = full_scale(read, volts, rng)
    for reads in READS:
        found = pair_outputs(chip.multiply(ARRAY, signs, reads=reads))
        programmed = np.where(healthy, target, read)
        for against, conductance in (
            ("reads", read),
            ("targets", target),
            ("programmed targets", programmed),
        ):
            sigma = np.std(found - pair_outputs(signs @ conductance))
            plural = "read" if reads == 1 else "reads"
            name = f"{state} products against {against}, {reads} {plural}"
            errors[name].append(100 * float(sigma) / scale)


def _calibrate(chip: Chip, names: list[str], seed: int) -> None:
    """Measure and keep; what can't be used ends the benchmark."""
    tasks = tasks_of(in_order(names), [ARRAY])
    missing = tuple(task for task in tasks if chip.profile.result(task.procedure.name, task.array) is None)
    for item in calibrate(chip, Order(missing, seed, quick=True)):
        if item.result is None or not item.result.usable:
            raise ValueError(f"{item.task.name}: {item.reason or item.result}")


def _pull(chip: Chip, procedure: str, name: str, truth: float) -> float:
    result = chip.profile.result(procedure, ARRAY)
    assert result is not None
    return (float(result.value(name)) - truth) / float(result.sigma(name))


def _line_pulls(chip: Chip) -> dict[str, float]:
    wires = preset("good").wires
    return {
        "wire": _pull(chip, "lines", "segment_ohms", wires.segment_ohms),
        "driver": _pull(chip, "lines", "driver_ohms", wires.driver_ohms),
        "TIA input": _pull(chip, "lines", "tia_ohms", wires.tia_ohms),
        "access transistor": _pull(chip, "transistor", "ohms", wires.transistor_ohms),
    }


def _fluctuation_pulls(chip: Chip) -> dict[str, float]:
    """Slope and offset; the spread is of this chip's own devices, whose draw is not at hand."""
    model = preset("good").fluctuation
    return {
        "fluctuation slope": _pull(chip, "fluctuation", "slope", model.slope),
        "fluctuation offset": _pull(chip, "fluctuation", "offset", model.offset),
    }
