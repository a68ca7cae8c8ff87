"""Reads of devices one by one, and conversions of the ADCs' test input."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim_chip import device, random, tias
from sim_chip.book import Count, EnergyCause, TimeCause
from sim_chip.converters import FIFOS_PER_ARRAY, Signal, fifo_owner
from sim_chip.crossbar import SIEMENS_PER_UNIT
from sim_chip.device import UNITS_PER_US
from sim_chip.die import Devices, Die, Floats, Units
from sim_chip.random import Purpose
from sim_chip.tias import Tias

WordArray = NDArray[np.uint16]

CURRENT_UNIT = 1e-17  # A: 10 pS times 1 µV


class Reads:
    """Reads single devices of one die."""

    def __init__(self, die: Die) -> None:
        self._die = die

    def read_cells(self, array: int, rows: ArrayLike, cols: ArrayLike, reads: int) -> WordArray:
        """Read devices (n,), `reads` times each; words (n, reads)."""
        die = self._die
        row, col, _ = die.devices(rows, cols)
        set_ = die.tias[die.checked(array)]
        if set_.uniform is not None:
            return self._read_alike(array, row, col, reads)
        modes = 2 * set_.gains[col] + set_.live[col]
        runs = np.split(np.arange(len(col)), np.flatnonzero(np.diff(modes)) + 1)
        return np.concatenate([self._read_alike(array, row[run], col[run], reads) for run in runs])

    def _read_alike(self, array: int, row: Devices, col: Devices, reads: int) -> WordArray:
        """Read devices (n,) whose columns have the same gain."""
        die = self._die
        devices = row * die.parameters.cols + col
        set_ = die.tias[array]
        gain = set_.gain_of(col)
        starts = self._starts(array, gain, len(devices), reads)
        units = self._units_at(array, devices, starts)
        with die.state.reading(array):
            noisy, normal = self._fluctuated(array, devices, units, starts)
            current = self.series_current(array, row, col, noisy, die.supply.read_uv)
            steady = None
            if set_.steady:
                still = np.broadcast_to(units, noisy.shape).astype(np.float64)
                steady = self.series_current(array, row, col, still, die.supply.read_uv)
            signal = Signal(current, CURRENT_UNIT, None, normal, steady)
            words = self.words(array, col, signal, set_)
            self.charge(gain, current, die.supply.read_uv, taken=set_.is_on(col))
        return words

    def _starts(self, array: int, gain: int, number: int, reads: int) -> NDArray[np.int64]:
        """Simulated time (n, reads) at which each read starts."""
        slot = sum(self._die.read_times(gain))
        starts = self._die.clock_ns + slot * np.arange(number * reads, dtype=np.int64)
        return starts.reshape(number, reads)

    def _units_at(self, array: int, devices: Devices, starts: NDArray[np.int64]) -> Units:
        """Conductances as relaxed when each read starts, broadcastable to (n, reads)."""
        die = self._die
        age, following = die.age_ns(array, die.clock_ns)
        last = int(starts[-1, -1]) if starts.size else 0
        if last < following:
            return die.shown(array, devices, age)[:, None]
        ages = np.full(starts.shape, age, dtype=np.int64)
        while following <= last:
            age, after = die.age_ns(array, following)
            ages[starts >= following] = age
            following = after
        every = np.repeat(devices, starts.shape[1])
        return die.shown(array, every, ages.ravel()).reshape(starts.shape)

    def fluctuated(self, array: int, devices: Devices, units: Units) -> tuple[Floats, Floats]:
        """One read each of devices (n,) now: conductances as read and normals for the ADC, (n, 1)."""
        starts = np.full((len(devices), 1), self._die.clock_ns, dtype=np.int64)
        return self._fluctuated(array, devices, units[:, None], starts)

    def _fluctuated(
        self, array: int, devices: Devices, units: Units, starts: NDArray[np.int64]
    ) -> tuple[Floats, Floats]:
        """Count the reads and draw their noise: conductances (n, reads), normals for the ADC."""
        kept, periphery = self._die.state, self._die.peripheries[array]
        model = self._die.parameters.fluctuation
        reads = starts.shape[1]
        counts = kept.read_count[array].take(devices)[:, None] + np.arange(reads, dtype=np.uint32)
        counters = random.device_counters(devices[:, None], counts)
        drawn = random.words(periphery.keys[Purpose.READ], counters)
        noisiness = periphery.traits.noisiness.take(devices)[:, None]
        sigma = device.fluctuation_us(model, units / UNITS_PER_US, noisiness)
        deviation = sigma * random.normal(drawn, 0)
        if periphery.jumping is not None:
            key = periphery.keys[Purpose.TELEGRAPH]
            level = device.telegraph_level(model, key, devices[:, None], starts)
            deviation = np.where(
                periphery.jumping.take(devices)[:, None],
                device.with_telegraph(model, sigma, random.normal(drawn, 0), level),
                deviation,
            )
        kept.read_count[array][devices] += np.uint32(reads)
        kept.counts[Count.READS] += counters.size
        return np.abs(units + np.rint(deviation * UNITS_PER_US)), random.normal(drawn, 1)

    def series_current(self, array: int, row: Devices, col: Devices, units: Floats, volts_uv: int) -> Floats:
        """Current (1e-17 A, whole numbers) through one selected device each, units (n, reads)."""
        die = self._die
        model, milliohms = die.parameters.wires, die.supply.milliohms
        ohms = model.driver_ohms + model.tia_ohms + milliohms / 1000.0
        segments = (col + 1) + (die.parameters.rows - row)
        series = ohms + model.segment_ohms * segments
        alive = (die.state.dead_rows[array].take(row) == 0) & (die.state.dead_cols[array].take(col) == 0)
        if milliohms < 0:
            alive[:] = False
        denominator = 1.0 + units * (series * SIEMENS_PER_UNIT)[:, None]
        current = units * float(volts_uv) / denominator
        return np.where(alive[:, None], np.rint(current), 0.0)

    def words(self, array: int, col: Devices, signal: Signal, set_: Tias) -> WordArray:
        """Convert currents (n, reads) in columns (n,), as their TIAs are set."""
        periphery = self._die.peripheries[array]
        places = periphery.column_places.take(col)[:, None]
        references = self._die.supply.references
        return tias.words(set_, periphery.readout, signal, references, (col[:, None], places))

    def charge(self, gain: int, current: Floats, volts_uv: int, *, taken: bool = True) -> None:
        """Enter single-device reads with these currents in the book; `taken` if they are converted."""
        die, times = self._die, self._die.read_times(gain)
        power = np.abs(current) * (abs(volts_uv) * 1e-14 * times[0])
        die.burn(EnergyCause.ARRAY, int(np.rint(power).sum()))
        die.burn(EnergyCause.ROWS, 1000 * die.parameters.energy.row_fj * current.size)
        die.charge_conversions(times, current.size, int(taken))

    def convert_test_input(self, fifo: int, reads: int) -> WordArray:
        """Convert rail 9 with one ADC (chip numbering), `reads` times; words (reads,), gain index 0."""
        die = self._die
        array, place = fifo_owner(fifo)
        if fifo < 0 or array >= die.parameters.arrays:
            raise ValueError(f"there is no ADC {fifo}; this chip has {4 * die.parameters.arrays}")
        if reads < 1:
            raise ValueError(f"an input is converted once or more, not {reads} times")
        timing, energy, periphery = die.parameters.timing, die.parameters.energy, die.peripheries[array]
        first = int(die.state.test_count[array, place])
        counters = np.arange(first, first + reads) * FIFOS_PER_ARRAY + place
        normal = random.normal(random.words(periphery.keys[Purpose.TEST_INPUT], counters), 0)
        with die.state.bookkeeping():
            die.state.test_count[array, place] += reads
            die.spend(TimeCause.CONVERSION, timing.conversion_ns * reads)
            die.spend(TimeCause.READOUT, timing.word_ns * reads)
            die.burn(EnergyCause.ADC, 1000 * energy.conversion_fj * reads)
        supply = die.supply
        return periphery.readout.test_words(place, supply.test_uv, normal, supply.references)
