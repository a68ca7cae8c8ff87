"""Read-to-read fluctuation of devices at sixteen states (Mao et al. 2022, Methods)."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from calibration.bench import Bench, level_targets
from calibration.comparison import Comparison
from calibration.fluctuation_fit import Floats, FluctuationLaw, Variances, fit_law
from calibration.procedure import Effect, Procedure, Scope
from calibration.series import Series
from chipctl.chip import Siemens
from chipctl.results import Quantity
from chipctl.runs.drawing import BLUE, GREY, INK, ORANGE, canvas
from chipctl.schedules import PulseSchedule
from firmware_protocol.messages import Multiply

STATES = np.linspace(5e-6, 50e-6, 16)
"""Siemens: the range over which the published law is fitted."""

_LEAST = 0.8 * STATES[0]
"""A device of the lowest state that relaxed further down is left out; above the highest the law saturates."""

READS, QUICK_READS = 1000, 100
BLOCK = 50
"""Reads whose own mean the deviations are taken from, so that slow drift does not count."""

REST_SECONDS = 100.0

PUBLISHED_SLOPE, PUBLISHED_OFFSET, PUBLISHED_SPREAD = 0.782, -2.168, 1.0
"""a, b and s of the group's code for Mao et al. 2022."""
BENCH_OFFSET = -3.25
"""b that fits 10 000 reads of a 0 to 100 µS gradient on a chip of the same design."""

_OFFSETS = (-5.0, -1.0)
"""From a tenth of the quietest chip's fluctuation to three times the loudest one's."""
_NOISE_READS = 2000
_USED_SCALE = 0.99
"""Share of the ADC's codes taken for good: where it ends depends on the column's offset and linearity."""


@dataclass(frozen=True)
class Fluctuation:
    """Means and variances of repeated reads, and the law fitted to them."""

    mean: Siemens
    """Of the devices themselves, without access transistor and lines, shape (devices,)."""
    variance: NDArray[np.float64]
    """S²."""
    noise: NDArray[np.float64]
    """Of the converter at each device's gain, S²."""
    gain: NDArray[np.int64]
    reads: int
    law: FluctuationLaw

    @property
    def sigma(self) -> Siemens:
        """Of each device, converter noise subtracted in quadrature; 0 where nothing is left."""
        return np.asarray(np.sqrt(np.maximum(self.variance - self.noise, 0)))

    @property
    def comparisons(self) -> list[Comparison]:
        """The law's three numbers; the spread of the chip's own devices is part of each interval."""
        law, fits = self.law, f"{PUBLISHED_OFFSET} (published), {BENCH_OFFSET} (fits bench reads)"
        low, high = PUBLISHED_SLOPE - 0.15, PUBLISHED_SLOPE + 0.15
        slope, offset, spread = (law.interval(name) for name in ("slope", "offset", "spread"))
        return [
            Comparison("a, slope of ln σ over ln G", law.slope, "1", PUBLISHED_SLOPE, low, high, slope),
            Comparison("b, ln σ at 1 µS (σ in µS)", law.offset, "1", fits, None, None, offset),
            Comparison("s, spread of ln σ over devices", law.spread, "1", PUBLISHED_SPREAD, 0.8, 1.2, spread),
            Comparison("median σ at 20 µS by the law", float(law.sigma_us(np.array(20.0))) * 1e-6, "S"),
            Comparison("devices", self.mean.size, "1", 4096.0),
            Comparison("reads a device", self.reads, "1", 1000.0),
        ]

    @property
    def values(self) -> dict[str, Quantity]:
        """The law for a profile."""
        law, sigma = self.law, np.sqrt(np.diag(self.law.covariance))
        window = PUBLISHED_SLOPE - 0.15, PUBLISHED_SLOPE + 0.15
        offset = Quantity.of(law.offset, sigma[1], "1", about="ln σ in µS of the median device at 1 µS")
        spread = Quantity.of(law.spread, sigma[2], "1", about="standard deviation of ln σ over devices")
        return {
            "slope": Quantity.of(law.slope, sigma[0], "1", about="of ln σ over ln G").asked(*window),
            "offset": offset.asked(*_OFFSETS),
            "spread": spread.asked(0.0, 1.5),
        }

    @property
    def valid_for(self) -> dict[str, JsonValue]:
        """The range of conductance that was fitted."""
        return {"least_siemens": STATES[0], "most_siemens": STATES[-1], "devices": self.mean.size}

    @property
    def data(self) -> dict[str, tuple[ArrayLike, str]]:
        """Everything measured."""
        law = [self.law.slope, self.law.offset, self.law.spread]
        return {
            "mean": (self.mean, "S"),
            "variance": (self.variance, "S²"),
            "converter_variance": (self.noise, "S²"),
            "gain": (self.gain, "1"),
            "law": (law, "1"),
            "law_covariance": (self.law.covariance, "1"),
        }

    def draw(self) -> Markup:
        """σ against mean conductance, and the spread of ln σ around the law."""
        law = self.law
        mean, sigma = self.mean * 1e6, self.sigma * 1e6
        known = sigma > 0
        line = np.geomspace(mean.min(), mean.max(), 50)
        with canvas(9.6, 3.8, "Standard deviation of repeated reads against conductance") as drawing:
            left, right = drawing.figure.subplots(1, 2)
            left.plot(mean[known], sigma[known], ".", ms=2, color=GREY, alpha=0.6, rasterized=True)
            left.plot(line, law.sigma_us(line), color=BLUE, label="fitted law, median device")
            for normal in (-1, 1):
                left.plot(line, law.sigma_us(line, normal), "--", lw=1, color=BLUE)
            published = np.exp(PUBLISHED_SLOPE * np.log(line) + PUBLISHED_OFFSET)
            left.plot(line, published, color=ORANGE, label="published law")
            left.set(
                xscale="log",
                yscale="log",
                xlabel="device's mean conductance / µS",
                ylabel="σ of reads / µS",
            )
            left.set_xticks([5, 10, 20, 50], ["5", "10", "20", "50"])
            left.minorticks_off()
            left.legend(loc="lower right")
            left_over = np.log(sigma[known]) - law.slope * np.log(mean[known]) - law.offset
            right.hist(left_over, 60, range=(-4, 4), density=True, color=BLUE, alpha=0.75, label="devices")
            at = np.linspace(-4, 4, 201)
            bell = np.exp(-((at / law.spread) ** 2) / 2) / (law.spread * np.sqrt(2 * np.pi))
            right.plot(at, bell, color=INK, label=f"Gaussian, s = {law.spread:.2f}")
            right.set(xlabel="ln σ − a ln G − b", ylabel="share of devices per unit")
            right.legend(loc="upper right")
        return drawing.markup


def measure_fluctuation(bench: Bench) -> Fluctuation:
    """Program sixteen states all over the array and read every device again and again.

    Changes the usable devices. Each is judged at the most sensitive gain at which none of its reads came to
    an end of the ADC; those that relaxed out of the range of the states are left out.

    Raises:
        ValueError: Too few devices are left to fit a law to.
    """
    reads = QUICK_READS if bench.quick else READS
    target, chosen = level_targets(bench, STATES, bench.usable.size)
    bench.program("fluctuation: program 16 states", target, PulseSchedule())
    bench.chip.wait(REST_SECONDS)
    devices = chosen.ravel()
    gains = _useful_gains(bench)
    mean, variance = np.full(devices.size, np.nan), np.full(devices.size, np.nan)
    noise, used = np.zeros(devices.size), np.full(devices.size, -1)
    with bench.progress.stage("fluctuation: repeated reads", reads * len(gains)) as tell:
        for done, gain in enumerate(gains):
            series = _Readings(bench, gain)
            for read in range(reads):
                series.take()
                tell(done * reads + read + 1)
            fits = (used < 0) & series.inside.ravel()[devices]
            mean[fits], variance[fits] = (part.ravel()[devices][fits] for part in series.moments())
            noise[fits], used[fits] = _converter_variance(bench, gain), gain
    mean, variance, noise = _without_series(bench, devices, mean, variance, noise)
    kept = (used >= 0) & (mean >= _LEAST) & (mean <= STATES[-1])
    mean, variance, noise, used = mean[kept], variance[kept], noise[kept], used[kept]
    freedom = reads - reads // BLOCK
    law = fit_law(Variances(mean * 1e6, variance * 1e12, noise * 1e12, freedom))
    return Fluctuation(mean, variance, noise, used, reads, law)


def _without_series(
    bench: Bench, devices: NDArray[np.intp], mean: Siemens, variance: Floats, noise: Floats
) -> tuple[Siemens, Floats, Floats]:
    """Of devices (flat indices) themselves, from what was read through transistor and lines.

    As read, both a device's conductance and, twice as strongly, its changes look too small; the law's slope
    would come out 0.012 low.
    """
    chip = bench.chip
    rows, cols = np.divmod(devices, chip.cols)
    own = 1.0 / (1.0 - mean * Series.of(chip.profile, bench.array).ohms(rows, cols, chip.rows))
    return mean * own, variance * own**4, noise * own**4


class _Readings:
    """Repeated single reads of a whole array at one gain, kept as sums per block of reads."""

    def __init__(self, bench: Bench, gain: int) -> None:
        self._bench, self._gain = bench, gain
        shape = bench.usable.shape
        self.inside = np.ones(shape, bool)
        """Where no read came to an end of the ADC."""
        self._count = 0
        self._sum, self._scatter = np.zeros(shape), np.zeros(shape)
        self._block: list[NDArray[np.int64]] = []

    def take(self) -> None:
        """One more read of every device."""
        chip = self._bench.chip
        codes, _ = chip.board.read_cells(self._bench.array, self._gain, 1, chip.whole)
        self.inside &= (codes > 0) & (codes < _USED_SCALE * chip.readout.full_scale)
        self._sum += codes
        self._count += 1
        self._block.append(codes)
        if len(self._block) == BLOCK:
            self._scatter += np.var(self._block, axis=0) * BLOCK
            self._block.clear()

    def moments(self) -> tuple[Siemens, NDArray[np.float64]]:
        """Mean conductance, and variance (S²) within blocks, shape (rows, cols) each."""
        chip = self._bench.chip
        lsb = chip.readout.lsb_siemens(self._gain)
        mean = chip.columns(self._bench.array).siemens(self._sum / self._count, self._gain)
        freedom = self._count - self._count // BLOCK
        return mean, self._scatter / freedom * lsb**2


def _useful_gains(bench: Bench) -> list[int]:
    """Gain indices from the most sensitive one on, up to one with room for any state and its noise."""
    readout = bench.chip.readout
    order = sorted(range(len(readout.gain_ohms)), key=lambda gain: -readout.gain_ohms[gain])
    spans = [readout.full_scale_amps(gain) / readout.read_volts for gain in order]
    room = [span > 2.5 * STATES[-1] for span in spans]
    last = room.index(True) if True in room else len(order) - 1
    return [gain for gain, span in zip(order[: last + 1], spans, strict=False) if span > STATES[0]]


def _converter_variance(bench: Bench, gain: int) -> float:
    """Variance (S²) that TIA and ADC add to one read, quantisation included: columns at zero current."""
    chip = bench.chip
    request = Multiply(bench.array, gain, gain, 1, 1, 0, 0, chip.cols, 0, 0)
    inputs = np.zeros((_NOISE_READS, chip.rows), np.int64)
    codes, clipped, _ = chip.board.multiply(request, inputs)
    steady = ~clipped.any(axis=0)
    variance = np.var(codes[:, steady], axis=0, ddof=1)
    return float(np.mean(variance)) * chip.readout.lsb_siemens(gain) ** 2


FLUCTUATION = Procedure(
    name="fluctuation",
    title="Read fluctuation",
    method="Sixteen states from 5 to 50 µS are programmed all over the array and every device is read again "
    "and again; the law ln σ = a ln G + b + s N(0, 1), in µS, is fitted by maximum likelihood, the "
    "converter's own noise and what lies in series with a device taken off. `slope` is a, `offset` b and "
    "`spread` s.",
    scope=Scope.ARRAY,
    effect=Effect.PULSES,
    needs=("adcs", "zeros", "transistor"),
    fresh_days=90,
    seconds=120.0,
    measure=measure_fluctuation,
)
