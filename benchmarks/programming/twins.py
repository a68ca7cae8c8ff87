"""Whether the twin of a chip with hidden parameters does what its original does.

For each hidden chip: calibrate one array through the wire, make the twin from nothing but the profile, give
both the same targets, and have both multiply the same vectors by the map that was read back. A control does
the same: a plain chip of the preset with the original's fault map, which must miss what the twin meets.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import ANY, Bound, Measured, Plan, Scale, at_least, at_most
from benchmarks.programming.hidden import hidden_parameters, opened
from calibration.calibrate import Order, calibrate, tasks_of
from calibration.procedures import in_order
from calibration.programming_error import PUBLISHED_SCHEDULE
from chipctl.chip import Chip
from chipctl.profile import ChipProfile
from chipctl.programming import PulseSchedule, program
from sim_chip.chip import VirtualChip
from sim_chip.device import Kind
from sim_chip.presets import preset
from sim_chip.twin import Twin, twin

Floats = NDArray[np.float64]

SEEDS = {Scale.QUICK: (2, 6), Scale.FULL: (1, 2, 3, 4, 5, 6, 7, 8)}
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
_POINTS = 3.0
_RATIO = Bound(0.9, 1.1)
"""Pulses of a twin over those of its original."""
_NOISE_RATIO = Bound(0.8, 1.25)
"""Of one product: the few loudest devices of a column make most of it, and each chip draws its own."""
SCHEDULES = {
    "paper": PUBLISHED_SCHEDULE,
    "paper, at most 40 pulses": PUBLISHED_SCHEDULE.model_copy(update={"max_rounds": 40}),
    "default": PulseSchedule(),
}
"""Given pulses enough, healthy devices of any chip come within tolerance: how many do with few tells chips
apart."""
_CONTROL_MISSES = {
    "paper, at most 40 pulses: yield verified, off by": at_least(0.5),
    "default: pulses over those of the original": at_least(1.0),
    "products: rms difference over σ of one product": at_least(1.0),
}
"""On what share of hidden chips a plain one must miss; how often it misses the rest is printed."""


@dataclass(frozen=True)
class Programmed:
    """What became of one array, percent of its healthy devices."""

    verified: float
    rested: float
    """Within ±5 µS of the target after a rest."""
    pulses: float
    """Per healthy device."""


@dataclass(frozen=True)
class Likeness:
    """One chip beside one that should do as it does."""

    yields: dict[str, tuple[Programmed, Programmed]]
    """By schedule: the original's and the other's."""
    product_noise: float
    """σ of single products of the original, A."""
    product_difference: float
    """Root mean square of the other less the original, means of many products, A."""
    other_noise: float

    @property
    def figures(self) -> dict[str, tuple[str, Bound, float]]:
        """Unit, bound and value by name."""
        found = {}
        for name, (own, its) in self.yields.items():
            for what in ("verified", "rested"):
                off = abs(getattr(its, what) - getattr(own, what))
                found[f"{name}: yield {what}, off by"] = "points", at_most(_POINTS), off
            found[f"{name}: pulses over those of the original"] = "1", _RATIO, its.pulses / own.pulses
        relative = self.product_difference / self.product_noise
        found["products: rms difference over σ of one product"] = "1", at_most(1.0), relative
        noise = self.other_noise / self.product_noise
        found["products: σ over that of the original"] = "1", _NOISE_RATIO, noise
        return found


@dataclass(frozen=True)
class Compared:
    """One chip, its twin and its control."""

    twin: Likeness
    control: Likeness
    scores: Floats
    """Calibrated less hidden parameters, in standard uncertainties."""
    usable: bool
    """Whether every result is that a twin is made of."""


def measure(plan: Plan) -> Iterator[Measured]:
    """Every line, over the hidden chips of the plan's scale."""
    first = SEEDS[plan.scale] if plan.seed is None else range(plan.seed, plan.seed + len(SEEDS[plan.scale]))
    found = [compare(seed, quick=plan.scale is Scale.QUICK) for seed in first]
    for name, (unit, bound, _) in found[0].twin.figures.items():
        yield Measured(f"twin, {name}", unit, bound, tuple(chip.twin.figures[name][2] for chip in found))
    for name in found[0].control.figures:
        values = [chip.control.figures[name] for chip in found]
        missed = float(np.mean([not bound.takes(value) for _, bound, value in values]))
        wanted = _CONTROL_MISSES.get(name, ANY)
        yield Measured(f"control, {name}: share of chips on which it misses", "1", wanted, (missed,))
    usable = tuple(float(chip.usable) for chip in found)
    yield Measured("hidden chips with all that a twin is made of", "1", at_least(1.0), usable)
    scores = np.concatenate([chip.scores for chip in found])
    inside = float(np.mean(np.abs(scores) <= _SIGMAS))
    yield Measured("hidden parameters within 3 uncertainties", "1", at_least(0.95), (inside,))


def compare(seed: int, *, quick: bool) -> Compared:
    """Calibrate one hidden chip, make its twin and its control, and put all to work."""
    with opened(VirtualChip(hidden_parameters(seed), seed)) as chip:
        profile, usable = calibrated(chip, seed, quick=quick)
    copy = _twin(profile, seed)
    plain = Twin(replace(preset("good"), arrays=copy.parameters.arrays), copy.faults, ())
    like, unlike = (_likeness(seed, profile, other) for other in (copy, plain))
    return Compared(like, unlike, scores(profile, hidden_truth(seed)), usable)


def _likeness(seed: int, profile: ChipProfile, other: Twin) -> Likeness:
    hidden, rng = hidden_parameters(seed), np.random.default_rng(seed)
    target = rng.uniform(0, _SPAN, (hidden.rows, hidden.cols))
    healthy = VirtualChip(hidden, seed).planted(0)[0].reshape(target.shape) == Kind.HEALTHY
    healthy &= ~profile.fault_map(0).stuck
    yields = {}
    for name, schedule in SCHEDULES.items():
        chips = (
            VirtualChip(hidden, seed),
            VirtualChip(other.parameters, _TWIN_SEED + seed, faults=other.faults),
        )
        own, its = (programmed(chip, target, healthy, schedule) for chip in chips)
        yields[name] = own, its
    return Likeness(yields, *_products(VirtualChip(hidden, seed), profile, other, rng))


def calibrated(chip: Chip, seed: int, *, quick: bool) -> tuple[ChipProfile, bool]:
    """The profile of a chip whose first array went through every procedure; whether all may be used."""
    order = Order(tasks_of(in_order([], everything=True), [0]), seed=seed, quick=quick)
    done = list(calibrate(chip, order))
    return chip.profile, all(item.result is not None and item.result.usable for item in done)


def _twin(profile: ChipProfile, seed: int) -> Twin:
    with TemporaryDirectory() as place:
        path = Path(place, "chip.json")
        profile.save(path)
        return twin(path, preset("good"), _TWIN_SEED + seed)


def programmed(
    truth: VirtualChip, target: Floats, healthy: NDArray[np.bool_], schedule: PulseSchedule
) -> Programmed:
    """What becomes of the healthy devices (rows, cols) of a chip's first array."""
    with opened(truth) as chip:
        chip.measure_zero(0)
        report = program(chip, 0, target, mask=healthy, schedule=schedule)
        chip.wait(_REST_SECONDS)
        rested = np.abs(chip.read(0, reads=10) - target) <= schedule.tolerance
    verified, near = (100 * float(part[healthy].mean()) for part in (report.verified, rested))
    return Programmed(verified, near, float(report.pulses[healthy].mean()))


def _products(
    truth: VirtualChip, profile: ChipProfile, other: Twin, rng: np.random.Generator
) -> tuple[float, float, float]:
    """σ of one product, rms difference of means, σ of the other's: same vectors, the map as read back."""
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
        readback = np.full((other.parameters.arrays, 64, 64), np.nan)
        readback[0] = chip.read(0, reads=_READBACK_READS)
    vectors = 0.2 * (rng.random((_VECTORS, 64)) < 0.5)
    start = other.start(readback)
    chips = truth, VirtualChip(other.parameters, _TWIN_SEED, faults=other.faults, conductance=start)
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
