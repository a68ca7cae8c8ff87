"""VirtualChip: memristor arrays with drivers, TIAs and ADCs, as a microcontroller sees them.

Codes in, codes out. Conductances are integers of 10 pS; random numbers are drawn by counter, so
the same seed and operations give the same words on any machine, in any batching. Time is
simulated: every operation advances the chip's clock by what it takes (`book`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim_chip import crossbar, device, faults, random, state
from sim_chip.book import Book, Count, EnergyCause, TimeCause
from sim_chip.converters import (
    AUTO_GAIN,
    FIFO_DEPTH,
    FIFOS_PER_ARRAY,
    Rail,
    Readout,
    References,
    Signal,
    column_order,
    dac_code,
    dac_microvolts,
    dac_volts,
    fifo_address,
)
from sim_chip.crossbar import SIEMENS_PER_UNIT
from sim_chip.device import UNITS_PER_US, DeviceTraits, Direction, Kind, Pulse
from sim_chip.faults import FaultPlan
from sim_chip.parameters import ChipParameters
from sim_chip.random import Purpose

Floats = NDArray[np.float64]
Devices = NDArray[np.intp]
WordArray = NDArray[np.uint16]

_BLOCK = 64  # vectors worked on at a time: stays in cache, and below BLAS's threading threshold
_WORDS = FIFOS_PER_ARRAY * FIFO_DEPTH
_GATE_READ_VOLTS = 5.0

_POWERED_VOLTS = {
    Rail.PLANE_VPP: 0.3,
    Rail.VREF_ARRAY: 0.5,
    Rail.VREF_TIA: 0.5,
    Rail.VREF_HI_CMP: 4.0,
    Rail.VREF_SH: 2.5,
    Rail.TVDD: 5.0,
    Rail.VAGC_0: 1.0,
    Rail.VAGC_1: 3.9,
}


@dataclass
class _Periphery:
    """What belongs to one array and never changes."""

    traits: DeviceTraits
    readout: Readout
    live_rows: Floats | None  # 1 where the row driver works, or None when all do
    fifo_columns: NDArray[np.intp]  # column at each place in FIFO order
    column_places: NDArray[np.intp]  # its inverse
    read_key: int
    pulse_key: int
    event_key: int
    product_key: int


@dataclass
class _Cached:
    """A product map and what it was made for."""

    key: tuple[int, int, int]  # age of the programming, version of the array, transistor mΩ
    map: crossbar.ProductMap


class VirtualChip:
    """A chip of one kind and seed, powered up and ready to read at 0.2 V.

    faults: what is wrong with it, instead of what the kind would draw. conductance: start state
    in S, shape (arrays, rows, cols), NaN where the kind's own is wanted; stuck devices keep
    theirs. path: keep the state in that new file, which then survives the process.
    """

    def __init__(
        self,
        preset: ChipParameters | state.ChipState,
        seed: int = 0,
        *,
        faults: FaultPlan | None = None,
        conductance: ArrayLike | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        restored = isinstance(preset, state.ChipState)
        kept = preset if isinstance(preset, state.ChipState) else state.blank(preset, seed, path)
        self._state = kept
        self.parameters = kept.parameters
        self.seed = kept.seed
        self.book = Book(kept.time_ns, kept.energy_aj, kept.counts)
        self._version = [0] * self.parameters.arrays
        self._cache: list[_Cached | None] = [None] * self.parameters.arrays
        self._clock_ns = self.book.clock_ns
        if not restored:
            self._fill(faults or FaultPlan(), conductance)
        self._peripheries = [self._periphery(array) for array in range(self.parameters.arrays)]
        if not restored:
            self.power_up()
        self._set_up()

    def _fill(self, plan: FaultPlan, conductance: ArrayLike | None) -> None:
        """Plant faults and the start state."""
        kept = self._state
        for array in range(self.parameters.arrays):
            planted = faults.plant(self.parameters, plan, self.seed, array)
            kept.kinds[array], kept.flags[array] = planted.kinds, planted.flags
            start_us = device.draw_traits(self.parameters, self.seed, array).start_us
            if conductance is not None:
                given = np.asarray(conductance, dtype=np.float64)[array].ravel() * 1e6
                start_us = np.where(np.isnan(given), start_us, given)
            units = np.rint(start_us * UNITS_PER_US).astype(np.int32)
            kept.units[array] = np.where(planted.kinds > 0, planted.stuck_units, units)
        kept.stuck_adcs[:] = -1
        for place, code in ((p, 0) for p in plan.dead_adcs):
            kept.stuck_adcs[place] = code
        for pairs, flags in (
            (plan.dead_rows, kept.dead_rows),
            (plan.dead_cols, kept.dead_cols),
            (plan.railed_tias, kept.railed_tias),
        ):
            for place in pairs:
                flags[place] = 1

    def _periphery(self, array: int) -> _Periphery:
        traits = device.draw_traits(self.parameters, self.seed, array)
        flags = self._state.flags[array]
        traits = device.slowed(traits, (flags & faults.SLOW) > 0)
        traits.noisiness[(flags & faults.NOISY) > 0] += 2.0
        readout = Readout(self.parameters.converters, self.seed, array)
        for fifo, code in enumerate(self._state.stuck_adcs[array]):
            if code >= 0:
                readout.stick(fifo, int(code))
        places = column_order(array)
        readout.offset_lsb[places[self._state.railed_tias[array] > 0]] = 1e6
        dead = self._state.dead_rows[array]
        live = (dead == 0).astype(np.float64) if dead.any() else None
        keys = (
            random.stream(self.seed, purpose, array)
            for purpose in (Purpose.READ, Purpose.PULSE, Purpose.EVENT, Purpose.PRODUCT)
        )
        return _Periphery(traits, readout, live, np.argsort(places), places, *keys)

    # State -----------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything that makes up this chip now to a file, in one step."""
        self._state.save(path)

    @classmethod
    def restore(cls, path: str | os.PathLike[str], *, mapped: bool = False) -> VirtualChip:
        """Return the saved chip, going on as if never interrupted.

        With `mapped` it keeps its state in that file from now on. Wires are not solved again.
        """
        return cls(state.load(path, mapped=mapped))

    # Rails and gains ---------------------------------------------------------------------------

    def power_up(self) -> None:
        """Set every rail for reading at 0.2 V with 5 V on the gates; pulse rail at 0 V."""
        for rail in Rail:
            self.set_rail(rail, dac_code(_POWERED_VOLTS.get(rail, 0.0)))

    def power_down(self) -> None:
        """Set every rail to 0 V: reads answer zero and nothing moves."""
        for rail in Rail:
            self.set_rail(rail, dac_code(0.0))

    def set_rail(self, channel: int, code: int) -> None:
        """Set one channel (0-15) of the board's DAC to a 16-bit code, ±10 V."""
        if not 0 <= code <= 0xFFFF:
            raise ValueError(f"a DAC code is 0 to 65535, not {code}")
        self._state.rails[Rail(channel)] = code
        self._set_up()

    def rail(self, channel: int) -> int:
        """Return the code of one channel."""
        return int(self._state.rails[Rail(channel)])

    def set_gain(self, array: int, gain: int) -> None:
        """Set an array's TIA gain: index 0-4 for 1k, 5k, 30k, 200k, 1M; 7 is automatic."""
        if gain != AUTO_GAIN and not 0 <= gain < len(self.parameters.converters.gain_ohms):
            raise ValueError(f"a gain index is 0 to 4 or {AUTO_GAIN}, not {gain}")
        self._state.gain[self._checked(array)] = gain

    def column_order(self, array: int) -> NDArray[np.intp]:
        """Return where each column (64,) lies in an array's 4×16 words, flattened."""
        return self._peripheries[self._checked(array)].column_places

    def fifo_address(self, array: int, col: int) -> tuple[int, int]:
        """Return (FIFO in chip numbering, word in it) of a column."""
        return fifo_address(self._checked(array), col)

    def gain(self, array: int) -> int:
        """Return an array's TIA gain index."""
        return int(self._state.gain[self._checked(array)])

    def _checked(self, array: int) -> int:
        if not 0 <= array < self.parameters.arrays:
            raise ValueError(f"there is no array {array}; this chip has {self.parameters.arrays}")
        return array

    def _rail_uv(self, rail: Rail) -> int:
        offset = self.parameters.converters.rail_offset_uv
        return dac_microvolts(int(self._state.rails[rail])) + offset

    def _set_up(self) -> None:
        """Work out what reads need from the rails."""
        rail_uv = self._rail_uv
        self._read_uv = rail_uv(Rail.VREF_TIA) - rail_uv(Rail.PLANE_VPP)
        self._references = References(rail_uv(Rail.VREF_TIA), rail_uv(Rail.VREF_HI_CMP), rail_uv(Rail.VAGC_1))
        self._milliohms = self._transistor_milliohms(rail_uv(Rail.TVDD) / 1e6)

    def _transistor_milliohms(self, gate_volts: float) -> int:
        """Access transistor during reads; -1 when its gate does not make it conduct."""
        nominal = self.parameters.wires.transistor_ohms
        threshold = self.parameters.switching.threshold.nominal
        if nominal == 0.0:
            return 0
        if gate_volts <= threshold:
            return -1
        return round(1000.0 * nominal * (_GATE_READ_VOLTS - threshold) / (gate_volts - threshold))

    # Time ------------------------------------------------------------------------------------

    @property
    def clock_ns(self) -> int:
        """Simulated time since the chip was made."""
        return self._clock_ns

    def advance(self, duration_ns: int) -> None:
        """Let simulated time pass with nothing done."""
        if duration_ns < 0:
            raise ValueError(f"time does not run backwards ({duration_ns} ns)")
        self._spend(TimeCause.WAIT, duration_ns)

    def _spend(self, cause: TimeCause, duration_ns: int) -> None:
        self._state.time_ns[cause] += duration_ns
        self._clock_ns += duration_ns

    def _burn(self, cause: EnergyCause, attojoules: int) -> None:
        self._state.energy_aj[cause] += attojoules

    # Conductance now -----------------------------------------------------------------------------

    def _shown(self, array: int, devices: Devices, age_ns: NDArray[np.int64] | int) -> NDArray[np.int32]:
        """Conductance (10 pS) of devices (n,) at an age of the array's programming: (n,) or scalar."""
        kept, model = self._state, self.parameters.relaxation
        units: NDArray[np.int32] = kept.units[array].take(devices)
        if not model.on or np.max(age_ns, initial=0) < model.onset_ns:
            return units
        moving = np.flatnonzero(kept.relaxing[array].take(devices))
        us = units[moving] / UNITS_PER_US
        events = kept.event_count[array].take(devices[moving])
        counters = random.device_counters(devices[moving], events)
        drawn = random.words(self._peripheries[array].event_key, counters)
        ages = np.broadcast_to(np.asarray(age_ns, dtype=np.int64), devices.shape)[moving]
        spread = device.relaxation_us(model, us) * device.relaxation_scale(model, ages)
        moved = np.maximum(us + spread * random.normal(drawn, 0), self.parameters.switching.floor_us)
        units[moving] = np.where(spread > 0.0, np.rint(moved * UNITS_PER_US), units[moving])
        return units

    def _age_ns(self, array: int, now_ns: int) -> tuple[int, int]:
        """Age of an array's last programming as far as relaxation goes, and when that changes.

        Relaxation starts when an array has been left alone for a second and is brought up to date
        at ages of 1, 2, 4, 8, ... seconds (between two of them a device moves 0.2 µS at most).
        """
        last = int(self._state.array_ns[array])
        onset = self.parameters.relaxation.onset_ns
        age = now_ns - last
        if age < onset:
            return 0, last + onset
        step = onset << ((age // onset).bit_length() - 1)
        return step, last + 2 * step

    def _settle_devices(self, array: int) -> None:
        """Before the first pulse after a pause: devices stay as relaxed, and relax no further."""
        age, _ = self._age_ns(array, self._clock_ns)
        if age and self._state.relaxing[array].any():
            self._state.units[array] = self._shown(array, np.arange(self.parameters.devices), age)
            self._state.relaxing[array] = 0
            self._version[array] += 1

    def conductance_units(self, array: int) -> NDArray[np.int32]:
        """Return the true conductances (rows, cols) now, in units of 10 pS."""
        age, _ = self._age_ns(self._checked(array), self._clock_ns)
        units = self._shown(array, np.arange(self.parameters.devices), age)
        return units.reshape(self.parameters.rows, self.parameters.cols)

    def conductance(self, array: int) -> Floats:
        """Return the true conductances (rows, cols) now, in S: what no host can know."""
        return np.asarray(self.conductance_units(array), dtype=np.float64) * SIEMENS_PER_UNIT

    def planted(self, array: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Return the true kinds (rows, cols) and conductances in 10 pS (rows, cols).

        Kinds are those of `Kind`: 0 healthy, 1 stuck on, 2 stuck off, 3 stuck in between.
        """
        kinds = self._state.kinds[self._checked(array)]
        shape = (self.parameters.rows, self.parameters.cols)
        return kinds.reshape(shape).copy(), self.conductance_units(array)

    def _devices(self, rows: ArrayLike, cols: ArrayLike) -> tuple[Devices, Devices, Devices]:
        """Check and flatten device addresses: rows, cols, indices."""
        row, col = np.broadcast_arrays(
            np.atleast_1d(np.asarray(rows, dtype=np.intp)),
            np.atleast_1d(np.asarray(cols, dtype=np.intp)),
        )
        if row.ndim != 1:
            raise ValueError(f"rows and columns must be one-dimensional, not {row.shape}")
        height, width = self.parameters.rows, self.parameters.cols
        if len(row) and (row.min() < 0 or col.min() < 0 or row.max() >= height or col.max() >= width):
            raise ValueError(f"rows are 0 to {height - 1}, columns 0 to {width - 1}")
        devices = row * width + col
        if len(devices) > 1 and np.bincount(devices).max() > 1:
            raise ValueError("a device is named twice in one request")
        return row, col, devices

    # Single-device reads -----------------------------------------------------------------------

    def read_cells(self, array: int, rows: ArrayLike, cols: ArrayLike, reads: int = 1) -> WordArray:
        """Read devices (n,) one by one, `reads` times each; words (n, reads).

        Only the device's row and column are connected, so the path is its own series circuit.
        """
        self._checked(array)
        row, col, devices = self._devices(rows, cols)
        kept, periphery = self._state, self._peripheries[array]
        counts = kept.read_count[array].take(devices)[:, None] + np.arange(reads, dtype=np.uint32)
        counters = random.device_counters(devices[:, None], counts)
        drawn = random.words(periphery.read_key, counters)
        units = self._read_units(array, devices, reads)
        us = units / UNITS_PER_US
        noisiness = periphery.traits.noisiness.take(devices)[:, None]
        sigma = device.fluctuation_us(self.parameters.fluctuation, us, noisiness)
        noisy = np.abs(units + np.rint(sigma * random.normal(drawn, 0) * UNITS_PER_US))
        current = self._series_current(array, row, col, noisy)
        places = periphery.column_places.take(col)[:, None]
        signal = Signal(current, 1e-17, None, random.normal(drawn, 1))
        words = periphery.readout.words(signal, int(kept.gain[array]), self._references, places)
        kept.read_count[array][devices] += np.uint32(reads)
        kept.counts[Count.READS] += current.size
        self._charge_reads(array, current)
        return words

    def _read_units(self, array: int, devices: Devices, reads: int) -> NDArray[np.int32]:
        """Conductances as relaxed when each read starts, broadcastable to (n, reads)."""
        slot = sum(self._read_times(array))
        start = self._clock_ns
        age, following = self._age_ns(array, start)
        if start + slot * len(devices) * reads <= following:
            return self._shown(array, devices, age)[:, None]
        starts = start + slot * np.arange(len(devices) * reads, dtype=np.int64)
        ages = np.full(len(starts), age, dtype=np.int64)
        while following <= starts[-1]:
            age, after = self._age_ns(array, following)
            ages[starts >= following] = age
            following = after
        return self._shown(array, np.repeat(devices, reads), ages).reshape(-1, reads)

    def _series_current(self, array: int, row: Devices, col: Devices, units: Floats) -> Floats:
        """Current (1e-17 A, whole numbers) through one selected device each, units (n, reads)."""
        model, kept = self.parameters.wires, self._state
        milliohms = self._milliohms
        ohms = model.driver_ohms + model.tia_ohms + milliohms / 1000.0
        segments = (col + 1) + (self.parameters.rows - row)
        series = ohms + model.segment_ohms * segments
        alive = (kept.dead_rows[array].take(row) == 0) & (kept.dead_cols[array].take(col) == 0)
        if milliohms < 0:
            alive[:] = False
        denominator = 1.0 + units * (series * SIEMENS_PER_UNIT)[:, None]
        current = units * float(self._read_uv) / denominator
        return np.where(alive[:, None], np.rint(current), 0.0)

    def _settle_ns(self, array: int) -> int:
        settle = self.parameters.timing.settle_ns
        gain = int(self._state.gain[array])
        return max(settle) if gain == AUTO_GAIN else settle[gain]

    def _read_times(self, array: int) -> tuple[int, int, int]:
        timing = self.parameters.timing
        return self._settle_ns(array), timing.conversion_ns, FIFO_DEPTH * timing.word_ns

    def _charge_reads(self, array: int, current: Floats) -> None:
        settle, conversion, readout = self._read_times(array)
        costs, number = self.parameters.energy, current.size
        self._spend(TimeCause.SETTLE, settle * number)
        self._spend(TimeCause.CONVERSION, conversion * number)
        self._spend(TimeCause.READOUT, readout * number)
        power = np.abs(current) * (abs(self._read_uv) * 1e-14 * settle)
        self._burn(EnergyCause.ARRAY, int(np.rint(power).sum()))
        self._burn(EnergyCause.ROWS, 1000 * costs.row_fj * number)
        self._burn(EnergyCause.TIA, 1000 * costs.tia_uw * (settle + conversion) * number)
        self._burn(EnergyCause.ADC, 1000 * costs.conversion_fj * number)

    # Products ----------------------------------------------------------------------------------

    def multiply(self, array: int, row_bits: ArrayLike, columns: ArrayLike | None = None) -> WordArray:
        """Drive the set rows with the read voltage and convert the columns; one product a vector.

        row_bits (vectors, rows), 0 or 1; rows not set sit at the reference. Returns words
        (vectors, 4 FIFOs, 16) in FIFO order. columns: which of the 64 to convert, 0 or 1 each;
        the others are connected all the same but answer 0 and cost nothing.
        """
        self._checked(array)
        bits = np.atleast_2d(np.asarray(row_bits))
        if bits.ndim != 2 or bits.shape[1] != self.parameters.rows:
            raise ValueError(f"row bits are (vectors, {self.parameters.rows}), not {bits.shape}")
        places = None if columns is None else np.asarray(columns, dtype=bool)
        taken = _WORDS if places is None else int(places.sum())
        times = self._product_times(array, places)
        slot = sum(times)
        words = np.empty((len(bits), _WORDS), dtype=np.uint16)
        done = 0
        while done < len(bits):
            age, following = self._age_ns(array, self._clock_ns)
            number = min(_BLOCK, len(bits) - done, -(-(following - self._clock_ns) // slot))
            self._multiply_block(array, age, bits[done : done + number], words[done : done + number])
            self._charge_products(times, number, taken)
            done += number
        if places is not None:
            words[:, ~places[self._peripheries[array].fifo_columns]] = 0
        return words.reshape(-1, FIFOS_PER_ARRAY, FIFO_DEPTH)

    def _multiply_block(
        self, array: int, age_ns: int, row_bits: NDArray[np.generic], words: WordArray
    ) -> None:
        """One cache-sized block of products, all with the same map; writes words (n, 64)."""
        kept, costs = self._state, self.parameters.energy
        bits = row_bits.astype(np.bool_).astype(np.float64)
        alive = self._peripheries[array].live_rows
        if alive is not None:
            bits *= alive
        maps = self._map(array, age_ns)
        read_uv = self._read_uv
        signal = self._product_signal(array, bits, maps, read_uv)
        readout = self._peripheries[array].readout
        words[:] = readout.words(signal, int(kept.gain[array]), self._references)
        kept.product_count[array] += len(bits)
        kept.counts[Count.PRODUCTS] += len(bits)
        seconds_squared_volts = float(read_uv) * read_uv * 1e-13 * self._settle_ns(array)
        self._burn(EnergyCause.ARRAY, int(np.rint((bits @ maps.total) * seconds_squared_volts).sum()))
        self._burn(EnergyCause.ROWS, 1000 * costs.row_fj * int(bits.sum()))

    def _product_signal(self, array: int, bits: Floats, maps: crossbar.ProductMap, read_uv: int) -> Signal:
        """Column currents of row bits (n, rows), with the variance of their fluctuation."""
        current = bits @ maps.currents
        current *= read_uv
        variance = None
        if maps.variance is not None:
            variance = maps.variance.of(bits)
            variance *= float(read_uv) * read_uv
        first = int(self._state.product_count[array]) * FIFO_DEPTH
        counters = np.arange(first, first + len(bits) * FIFO_DEPTH)
        drawn = random.words(self._peripheries[array].product_key, counters)
        normal = random.normals(drawn).reshape(len(bits), _WORDS)
        return Signal(current, crossbar.MAP_SIEMENS * 1e-6, variance, normal)

    def _map(self, array: int, age_ns: int) -> crossbar.ProductMap:
        """Return the product map of an array at an age of its programming, solving wires if need be."""
        milliohms = self._milliohms
        cached = self._cache[array]
        key = (age_ns, self._version[array], milliohms)
        if cached is not None and cached.key == key:
            return cached.map
        shape = (self.parameters.rows, self.parameters.cols)
        units = self._shown(array, np.arange(self.parameters.devices), age_ns)
        ohms = inf if milliohms < 0 else milliohms / 1000.0
        cells = crossbar.cell_siemens(units.reshape(shape), ohms)
        cells[:, self._state.dead_cols[array] > 0] = 0.0
        solution = self._solution(array, units, milliohms, cells)
        sigma = None
        if self.parameters.fluctuation.on:
            noisiness = self._peripheries[array].traits.noisiness
            us = units / UNITS_PER_US
            sigma = device.fluctuation_us(self.parameters.fluctuation, us, noisiness)
            share = cells / np.maximum(units.reshape(shape) * SIEMENS_PER_UNIT, 1e-12)
            sigma = sigma.reshape(shape) * (share * share)
        order = self._peripheries[array].fifo_columns
        made = crossbar.product_map(self.parameters.wires, cells, solution, sigma, order)
        self._cache[array] = _Cached(key, made)
        return made

    def _solution(
        self, array: int, units: NDArray[np.int32], milliohms: int, cells: Floats
    ) -> crossbar.WireSolution:
        """Return the stored wire solution if it is of these conductances, else solve and store."""
        kept, shape = self._state, cells.shape
        # Zero, as in a new state, stands for "not solved"
        if kept.solved_milliohms[array] != milliohms + 2 or not np.array_equal(
            kept.solved_units[array], units
        ):
            kept.solved_milliohms[array] = 0
            solution = crossbar.solved(self.parameters.wires, cells)
            kept.solved[array] = solution.transconductance.ravel()
            kept.solved_all_on[array] = solution.all_on.ravel()
            kept.solved_units[array] = units
            kept.solved_milliohms[array] = milliohms + 2
        return crossbar.WireSolution(
            kept.solved[array].reshape(shape), kept.solved_all_on[array].reshape(shape)
        )

    def _product_times(self, array: int, columns: NDArray[np.bool_] | None) -> tuple[int, int, int]:
        """Settling, converting and reading out one product: the four ADCs work in parallel."""
        timing = self.parameters.timing
        used, longest = FIFOS_PER_ARRAY, FIFO_DEPTH
        if columns is not None:
            in_order = columns[self._peripheries[array].fifo_columns]
            counts = in_order.reshape(FIFOS_PER_ARRAY, FIFO_DEPTH).sum(axis=1)
            used, longest = int((counts > 0).sum()), int(counts.max())
        return (
            self._settle_ns(array),
            timing.conversion_ns * longest,
            timing.word_ns * FIFO_DEPTH * used,
        )

    def _charge_products(self, times: tuple[int, int, int], number: int, taken: int) -> None:
        settle, conversion, readout = times
        costs = self.parameters.energy
        self._spend(TimeCause.SETTLE, settle * number)
        self._spend(TimeCause.CONVERSION, conversion * number)
        self._spend(TimeCause.READOUT, readout * number)
        self._burn(EnergyCause.TIA, 1000 * costs.tia_uw * (settle + conversion) * taken * number)
        self._burn(EnergyCause.ADC, 1000 * costs.conversion_fj * taken * number)

    # Pulses ------------------------------------------------------------------------------------

    def pulse(  # noqa: PLR0913 - one pulse is all of these
        self,
        array: int,
        rows: ArrayLike,
        cols: ArrayLike,
        direction: int,
        volt_codes: ArrayLike,
        gate_codes: ArrayLike,
        width_ns: int,
        count: int = 1,
    ) -> None:
        """Apply `count` SET (1) or RESET (0) pulses to each device (n,), one device at a time.

        volt_codes, gate_codes: successive settings of VP_PAD and TVDD, (n,) or scalar; a device
        with either code 0 is skipped. width_ns: a multiple of 20 ns up to 5080 ns, of 1 µs above.
        """
        self._checked(array)
        self._check_width(width_ns)
        direction = Direction(direction)
        _, _, devices = self._devices(rows, cols)
        volts, gates = (
            np.broadcast_to(np.asarray(codes, dtype=np.int64), devices.shape)
            for codes in (volt_codes, gate_codes)
        )
        chosen = np.flatnonzero((volts != 0) & (gates != 0))
        if len(chosen) == 0 or count < 1:
            return
        offset = self.parameters.converters.rail_offset_uv / 1e6
        pulse = Pulse(dac_volts(volts[chosen]) + offset, dac_volts(gates[chosen]) + offset, width_ns)
        timing = self.parameters.timing
        slot = timing.pulse_setup_ns + timing.pulse_switch_ns + width_ns
        self._settle_devices(array)
        for _ in range(count):
            self._pulse_once(array, devices[chosen], direction, pulse)
        self._spend(TimeCause.PULSE_SETUP, (slot - width_ns) * len(chosen) * count)
        self._spend(TimeCause.PULSE, width_ns * len(chosen) * count)
        self._state.array_ns[array] = self._clock_ns

    def _check_width(self, width_ns: int) -> None:
        timing = self.parameters.timing
        short = width_ns <= timing.timer_limit_ns and width_ns % timing.timer_step_ns == 0
        if width_ns <= 0 or not (short or width_ns % 1000 == 0):
            raise ValueError(
                f"a pulse lasts a multiple of {timing.timer_step_ns} ns up to "
                f"{timing.timer_limit_ns} ns, of 1 µs above, not {width_ns} ns"
            )

    def _pulse_once(
        self,
        array: int,
        devices: Devices,
        direction: Direction,
        pulse: Pulse,
    ) -> None:
        """One pulse on each device; a change opens a new programming event."""
        kept, periphery = self._state, self._peripheries[array]
        model = self.parameters.switching
        before = kept.units[array].take(devices)
        us = before / UNITS_PER_US
        counters = random.device_counters(devices, kept.pulse_count[array].take(devices))
        drawn = random.normal(random.words(periphery.pulse_key, counters), 0)
        traits = periphery.traits.of(devices)
        law = device.after_set if direction is Direction.SET else device.after_reset
        after = law(model, traits, us, pulse, drawn)
        units = np.rint(after * UNITS_PER_US).astype(np.int32)
        dead = kept.dead_rows[array].take(devices // self.parameters.cols) | kept.dead_cols[array].take(
            devices % self.parameters.cols
        )
        healthy = (kept.kinds[array].take(devices) == Kind.HEALTHY) & (dead == 0)
        moved = np.flatnonzero((units != before) & healthy)
        kept.counts[Count.SET if direction is Direction.SET else Count.RESET] += len(devices)
        self._burn_pulses(direction, np.where(dead == 0, us, 0.0), traits, pulse)
        kept.pulse_count[array][devices] += np.uint32(1)
        if len(moved) == 0:
            return
        changed = devices[moved]
        kept.units[array][changed] = units[moved]
        kept.relaxing[array][changed] = 1
        kept.event_count[array][changed] += np.uint32(1)
        self._version[array] += 1

    def _burn_pulses(self, direction: Direction, us: Floats, traits: DeviceTraits, pulse: Pulse) -> None:
        """Charge V·I·t of each pulse at the conductance it met."""
        current_ua = device.pulse_current(self.parameters.switching, traits, us, pulse)
        energy_aj = np.rint(np.abs(pulse.volts * current_ua) * (1000.0 * pulse.width_ns))
        cause = EnergyCause.SET if direction is Direction.SET else EnergyCause.RESET
        self._burn(cause, int(energy_aj.sum()))
