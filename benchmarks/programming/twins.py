"""Whether the twin of a chip with hidden parameters does what its original does.

For each hidden chip: calibrate one array through the wire, make the twin from nothing but the profile, give
both the same targets, and have both multiply the same vectors by the map that was read back.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import ANY, Measured, Plan, Scale, at_least, at_most
from benchmarks.programming.hidden import hidden_parameters, opened
from calibration.calibrate import Order, calibrate, tasks_of
from calibration.procedures import in_order
from calibration.products import PRODUCTS
from calibration.programming_error import PUBLISHED_SCHEDULE
from chipctl.chip import Chip
from chipctl.profile import ChipProfile
from chipctl.programming import PulseSchedule, program
from sim_chip.chip import VirtualChip
from sim_chip.presets import preset
from sim_chip.twin import Twin, twin

Floats = NDArray[np.float64]

SEEDS = {Scale.QUICK: (1, 2), Scale.FULL: (1, 2, 3, 4, 5, 6, 7, 8)}
_TWIN_SEED = 1_000_000
"""Far from the originals': a twin shares no draw with its original."""
_REST_SECONDS = 130.0
"""After programming: relaxation comes in steps at powers of two seconds, the next one at 256 s."""
_VECTORS = 100
_READS, _SINGLES = 64, 16
_READBACK_READS = 100
_PRODUCT_GAIN = 1
"""Takes the current of a differential map on every column."""
_SPAN = 150e-6
_SIGMAS = 3.0


@dataclass(frozen=True)
class Programmed:
    """What became of one array, percent of all its devices."""

    verified: float
    rested: float
    """Within ±5 µS of the target after a rest."""
    pulses: float
    """Per device."""


@dataclass(frozen=True)
class Compared:
    """One chip and its twin."""

    yields: dict[str, tuple[Programmed, Programmed]]
    """By schedule."""
    product_noise: float
    """σ of single products of the original, A."""
    product_difference: float
    """Root mean square of twin less original, means of many products, A."""
    twin_noise: float
    scores: Floats
    """Calibrated less hidden parameters, in standard uncertainties."""
    passed: bool
    """Whether every procedure did that a twin is made of."""


def measure(plan: Plan) -> Iterator[Measured]:
    """Every line, over the hidden chips of the plan's scale."""
    first = SEEDS[plan.scale] if plan.seed is None else range(plan.seed, plan.seed + len(SEEDS[plan.scale]))
    found = [compare(seed, quick=plan.scale is Scale.QUICK) for seed in first]
    points = "points"
    for name in found[0].yields:
        pairs = [chip.yields[name] for chip in found]
        for what in ("verified", "rested"):
            off = tuple(abs(getattr(copy, what) - getattr(own, what)) for own, copy in pairs)
            yield Measured(f"twin, {name}: yield {what}, off by", points, at_most(3.0), off)
        ratio = tuple(copy.pulses / own.pulses for own, copy in pairs)
        yield Measured(f"twin, {name}: pulses over those of the original", "1", ANY, ratio)
    relative = tuple(chip.product_difference / chip.product_noise for chip in found)
    yield Measured("twin, products: rms difference over σ of one product", "1", at_most(1.0), relative)
    noise = tuple(chip.twin_noise / chip.product_noise for chip in found)
    yield Measured("twin, products: σ over that of the original", "1", ANY, noise)
    passed = tuple(float(chip.passed) for chip in found)
    yield Measured("hidden chips with all that a twin is made of", "1", at_least(1.0), passed)
    scores = np.concatenate([chip.scores for chip in found])
    inside = float(np.mean(np.abs(scores) <= _SIGMAS))
    yield Measured("hidden parameters within 3 uncertainties", "1", at_least(0.95), (inside,))


def compare(seed: int, *, quick: bool) -> Compared:
    """Calibrate one hidden chip, make its twin, and put both to work."""
    hidden = hidden_parameters(seed)
    rng = np.random.default_rng(seed)
    truth = VirtualChip(hidden, seed)
    with opened(truth) as chip:
        profile, passed = calibrated(chip, seed, quick=quick)
    copy = _twin(profile, seed)
    target = rng.uniform(0, _SPAN, (hidden.rows, hidden.cols))
    yields = {}
    for name, schedule in (("paper", PUBLISHED_SCHEDULE), ("default", PulseSchedule())):
        chips = (
            VirtualChip(hidden, seed),
            VirtualChip(copy.parameters, _TWIN_SEED + seed, faults=copy.faults),
        )
        own, its = (_programmed(chip, target, schedule) for chip in chips)
        yields[name] = own, its
    products = _products(truth, profile, copy, rng)
    return Compared(yields, *products, scores(profile, hidden_truth(seed)), passed)


def calibrated(chip: Chip, seed: int, *, quick: bool) -> tuple[ChipProfile, bool]:
    """The profile of a chip whose first array went through every procedure; whether those of a twin passed.

    The verdict on products is on the chip, not on the measurement: a noisy chip fails it.
    """
    order = Order(tasks_of(in_order([], everything=True), [0]), seed=seed, quick=quick)
    done = list(calibrate(chip, order))
    return chip.profile, all(item.passed for item in done if item.task.procedure is not PRODUCTS)


def _twin(profile: ChipProfile, seed: int) -> Twin:
    with TemporaryDirectory() as place:
        path = Path(place, "chip.json")
        profile.save(path)
        return twin(path, preset("good"), _TWIN_SEED + seed)


def _programmed(truth: VirtualChip, target: Floats, schedule: PulseSchedule) -> Programmed:
    with opened(truth) as chip:
        chip.measure_zero(0)
        report = program(chip, 0, target, schedule=schedule)
        chip.wait(_REST_SECONDS)
        rested = np.abs(chip.read(0, reads=10) - target) <= schedule.tolerance
        pulses = float(report.pulses.mean())
        return Programmed(100 * float(report.verified.mean()), 100 * float(rested.mean()), pulses)


def _products(
    truth: VirtualChip, profile: ChipProfile, copy: Twin, rng: np.random.Generator
) -> tuple[float, float, float]:
    """σ of one product, rms difference of means, σ of the twin's: same vectors, the map as read back."""
    weights = np.abs(rng.standard_normal((64, 32)))
    weights *= _SPAN / weights.max()
    signs = rng.random(weights.shape) < 0.5
    target = np.empty((64, 64))
    target[:, 0::2], target[:, 1::2] = np.where(signs, weights, 0), np.where(signs, 0, weights)
    with opened(truth) as chip:
        chip.adopt(profile)
        usable = ~profile.fault_map(0).stuck
        program(chip, 0, target, mask=usable)
        chip.wait(_REST_SECONDS)
        readback = np.full((copy.parameters.arrays, 64, 64), np.nan)
        readback[0] = chip.read(0, reads=_READBACK_READS)
    vectors = 0.2 * (rng.random((_VECTORS, 64)) < 0.5)
    start = copy.start(readback)
    chips = truth, VirtualChip(copy.parameters, _TWIN_SEED, faults=copy.faults, conductance=start)
    (own, noise), (its, its_noise) = (_multiplied(chip, vectors) for chip in chips)
    return noise, float(np.sqrt(np.mean((its - own) ** 2))), its_noise


def _multiplied(truth: VirtualChip, vectors: Floats) -> tuple[Floats, float]:
    """Mean column currents (vectors, cols) as a driver that knows nothing has them, and σ of single ones."""
    with opened(truth) as chip:
        mean = chip.multiply(0, vectors, reads=_READS, gain=_PRODUCT_GAIN)
        singles = [chip.multiply(0, vectors, gain=_PRODUCT_GAIN) for _ in range(_SINGLES)]
    return mean, float(np.sqrt(np.mean(np.var(singles, axis=0, ddof=1))))


def hidden_truth(seed: int) -> dict[str, float]:
    """A hidden chip's parameters in the words of a profile: spreads, gain in place of transconductance."""
    hidden = hidden_parameters(seed)
    s, w = hidden.switching, hidden.wires
    compliance = s.compliance_volts
    truth = {
        "threshold": s.threshold.nominal,
        "threshold_spread": s.threshold.sigma,
        "gain": s.transconductance.nominal / (2 * compliance.nominal),
        "gain_spread": float(np.hypot(s.transconductance.sigma, compliance.sigma / compliance.nominal)),
        "ohms": w.transistor_ohms,
    }
    for name in ("set_threshold", "off_gap", "reset_reference", "reset_steepness"):
        spread = getattr(s, name)
        truth |= {name: spread.nominal, f"{name}_spread": spread.sigma}
    for name in ("set_jitter", "set_softness", "set_width_shift", "reset_fraction"):
        truth[name] = getattr(s, name)
    for name in ("reset_ohms", "reset_width_shift", "reset_jitter"):
        truth[name] = getattr(s, name)
    truth |= {name: getattr(w, name) for name in ("segment_ohms", "driver_ohms", "tia_ohms")}
    truth |= {name: getattr(hidden.fluctuation, name) for name in ("slope", "offset", "spread")}
    return truth


def scores(profile: ChipProfile, truth: dict[str, float]) -> Floats:
    """How far calibrated parameters are from the truth, in standard uncertainties."""
    found = []
    for result in profile.arrays[0].calibration.values():
        for name, quantity in result.values.items():
            if name in truth and quantity.value.ndim == 0:
                with suppress(ZeroDivisionError):
                    found.append((float(quantity.value) - truth[name]) / float(quantity.sigma))
    return np.array(found)
