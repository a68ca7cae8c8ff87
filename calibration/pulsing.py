"""Single pulses on chosen devices of an array, with a reading before and after each."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.bench import Bench
from calibration.device_fit import PulseTable
from calibration.series import Series
from chipctl.board import Region
from chipctl.chip import PulseShape, Siemens
from chipctl.converters import adc_of_columns
from chipctl.errors import ChipctlError
from firmware_protocol.messages import RESET, SET

Floats = NDArray[np.float64]

READS = 4
"""Averaged per look; every reading is two looks, whose difference tells its noise. An array left alone for a
second relaxes: reading a few rows, not the whole array, keeps far from that."""

_FLUCTUATION = (0.782, -3.25)
"""Slope and offset of ln σ over ln G (µS) of the median device (Mao et al. 2022; bench reads). Only how σ
goes with G matters: how loud a device is, its own readings say."""
_SATURATION_US = 50.0
_ADC_CODES = 0.75
"""Noise of one conversion, quantisation included."""
_BENT_CODES, _STRAIGHT_CODES = 2.0, 0.25
"""Amplitude of what is left of an ADC's curve: not calibrated, and calibrated."""
_DRAWS = 24
LEAST_DEVICES = 50
_LEAST_LOUDNESS = 0.1

RESET_GATE_VOLTS = 5.0
LOW_PULSES, LOW_VOLTS = 3, 1.8
"""RESET pulses that leave a device at a few µS."""
STRONG_SET_VOLTS = 3.2
"""Beyond every SET threshold: the gate alone says where a device goes."""


class Pulser:
    """Gives pulses to devices of one array and keeps what was read around them.

    Changes the chosen devices, no others.
    """

    def __init__(self, bench: Bench, rows: int) -> None:
        """Take the usable devices of a block of `rows` rows, placed at random.

        Raises:
            ChipctlError: Too few of them to measure anything.
        """
        self._bench = bench
        first = int(bench.rng.integers(0, bench.chip.rows - rows + 1))
        self._block = Region(first, rows, 0, bench.chip.cols)
        self._chosen = np.zeros(bench.usable.shape, bool)
        self._chosen[self._block.slices] = bench.usable[self._block.slices]
        self.devices = np.flatnonzero(self._chosen)
        """Flat indices, shape (devices,)."""
        if self.devices.size < LEAST_DEVICES:
            raise ChipctlError(
                f"array {bench.array}: {self.devices.size} devices of rows {first} to {first + rows - 1} may "
                f"be changed, {LEAST_DEVICES} are wanted; choose another array"
            )
        self._series = Series.of(bench.chip.profile, bench.array)
        row, col = np.divmod(self.devices, bench.chip.cols)
        self.series_ohms = self._series.ohms(row, col, bench.chip.rows)
        """In series with each device when it is read, shape (devices,)."""
        self._kept: list[tuple[int, float, float, float, int]] = []
        self._looks: list[tuple[Siemens, Siemens]] = []
        self._look()

    @property
    def now(self) -> Siemens:
        """The latest readings, shape (devices,)."""
        return np.asarray(np.mean(self._looks[-1], axis=0))

    def set(
        self, volts: float, gate_volts: float, width_seconds: float = 1e-6, *, keep: bool = True
    ) -> Siemens:
        """One SET pulse on each device; the readings after it. One not to keep stays out of the table."""
        return self._pulse(PulseShape(SET, volts, gate_volts, width_seconds), keep=keep)

    def reset(self, volts: float, width_seconds: float = 1e-6, *, keep: bool = True) -> Siemens:
        """One RESET pulse on each device; as `set`."""
        return self._pulse(PulseShape(RESET, volts, RESET_GATE_VOLTS, width_seconds), keep=keep)

    def bring_low(self) -> None:
        """Bring every device to a few µS."""
        for _ in range(LOW_PULSES):
            self.reset(LOW_VOLTS, keep=False)

    def _pulse(self, shape: PulseShape, *, keep: bool) -> Siemens:
        chip = self._bench.chip
        volts = np.where(self._chosen, shape.volts, np.nan)
        gates = np.full(volts.shape, shape.gate_volts)
        chip.pulse_each(self._bench.array, shape.direction, volts, gates, shape.width_seconds)
        if keep:
            codes = chip.pulse_codes(shape.direction, shape.volts, shape.gate_volts)
            volt, gate = (float(chip.dac.to_volts(code)) for code in codes)
            self._kept.append((shape.direction, volt, gate, shape.width_seconds, len(self._looks)))
        self._look()
        return self.now

    def _look(self) -> None:
        chip, chosen = self._bench.chip, self._chosen[self._block.slices]
        first, second = (chip.read(self._bench.array, self._block, reads=READS)[chosen] for _ in range(2))
        self._looks.append((first, second))

    def table(self) -> PulseTable:
        """The pulses that were kept, on devices numbered row · cols + col; conductances of devices alone."""
        first, second = np.moveaxis(np.array(self._looks), 1, 0)
        readings = (first + second) / 2
        variance = self._expected_variance(readings)
        loudness = np.square(first - second).sum(axis=0) / 4 / variance.sum(axis=0)
        sigma = np.sqrt(np.maximum(loudness, _LEAST_LOUDNESS) * variance)
        drawn = self._shared_errors(readings)
        directions, volts, gates, widths, at = (np.array(part) for part in zip(*self._kept, strict=True))

        def each_device(values: NDArray[Any]) -> NDArray[Any]:
            return np.tile(values, len(at))

        def each(values: NDArray[Any]) -> NDArray[Any]:
            return np.repeat(values, len(self.devices))

        table = PulseTable(
            device=each_device(self.devices),
            direction=each(directions).astype(np.int64),
            volts=each(volts).astype(np.float64),
            gate_volts=each(gates).astype(np.float64),
            width_seconds=each(widths).astype(np.float64),
            before=readings[at - 1].ravel(),
            after=readings[at].ravel(),
            before_sigma=sigma[at - 1].ravel(),
            after_sigma=sigma[at].ravel(),
            before_drawn=drawn[:, at - 1].reshape(_DRAWS, -1),
            after_drawn=drawn[:, at].reshape(_DRAWS, -1),
        )
        return table.without_series(each_device(self.series_ohms))

    def _expected_variance(self, readings: Siemens) -> Floats:
        """Of the mean of two looks of devices of median loudness, S²."""
        slope, offset = _FLUCTUATION
        us = np.clip(readings * 1e6, 0.01, _SATURATION_US)
        fluctuation = np.exp(slope * np.log(us) + offset) * 1e-6
        return np.asarray((fluctuation**2 + (_ADC_CODES * self._lsb(readings)) ** 2) / (2 * READS))

    def _lsb(self, readings: Siemens) -> Siemens:
        """Conductance per code at the gain that automatic gain chooses, S."""
        readout = self._bench.chip.readout
        gains = sorted(range(len(readout.gain_ohms)), key=lambda gain: -readout.gain_ohms[gain])
        tops = np.array([readout.full_scale_amps(gain) / readout.read_volts for gain in gains])
        steps = np.array([readout.lsb_siemens(gain) for gain in gains])
        return np.asarray(steps[np.minimum(np.searchsorted(tops, readings), len(gains) - 1)])

    def _shared_errors(self, readings: Siemens) -> Floats:
        """What converters and series resistance may be wrong by, alike for alike readings, in S.

        Shape (draws, looks, devices).
        """
        chip, rng = self._bench.chip, np.random.default_rng(0)
        known = chip.profile.result("adcs", self._bench.array)
        amplitude = _BENT_CODES if known is None or not known.usable else _STRAIGHT_CODES
        adcs = adc_of_columns(chip.cols)[self.devices % chip.cols]
        phases = rng.uniform(0, 1, (_DRAWS, adcs.max() + 1))[:, None, adcs]
        lsb = self._lsb(readings)
        turns = readings / lsb / (chip.readout.full_scale + 1)
        series = np.square(readings) * rng.normal(0, self._series.sigma, (_DRAWS, 1, 1))
        return np.asarray(amplitude * lsb * np.sin(2 * np.pi * (turns + phases)) + series)
