"""What all operations of one chip share: devices, readouts, rails, clock and ledgers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim_chip import device, faults, random, state, tias
from sim_chip.book import Book, EnergyCause, TimeCause
from sim_chip.converters import AUTO_GAIN, FIFO_DEPTH, Readout, column_order
from sim_chip.device import UNITS_PER_US, DeviceTraits, Fates
from sim_chip.faults import FaultPlan
from sim_chip.parameters import ChipParameters
from sim_chip.rails import NOMINAL_UV, power
from sim_chip.random import Purpose

Floats = NDArray[np.float64]
Devices = NDArray[np.intp]
Units = NDArray[np.int32]

# Looking a member up costs as much as entering it in the book
_SETTLE, _CONVERSION, _READOUT = map(int, (TimeCause.SETTLE, TimeCause.CONVERSION, TimeCause.READOUT))
_TIA, _ADC = int(EnergyCause.TIA), int(EnergyCause.ADC)

_HIGHEST_US = 1000.0  # exact sums of products are proved up to here


@dataclass(frozen=True)
class Periphery:
    """What belongs to one array and never changes."""

    traits: DeviceTraits
    fates: Fates | None  # None where neither wear nor strong RESETs end devices
    jumping: NDArray[np.bool_] | None  # devices with telegraph noise, None without any
    readout: Readout
    live_rows: Floats | None  # 1 where the row driver works, or None when all do
    fifo_columns: NDArray[np.intp]  # column at each place in FIFO order
    column_places: NDArray[np.intp]  # its inverse
    keys: dict[Purpose, int]


def fresh(
    parameters: ChipParameters, seed: int, plan: FaultPlan, conductance: ArrayLike | None
) -> state.ChipState:
    """Make the state of a new chip: faults planted, devices in their start state, no power."""
    faults.check(plan, parameters)
    shape = (parameters.arrays, parameters.rows, parameters.cols)
    if conductance is not None and np.shape(conductance) != shape:
        raise ValueError(f"start conductances are {np.shape(conductance)}; this chip is {shape}")
    kept = state.blank(parameters, seed)
    kept.supply_uv[0] = NOMINAL_UV
    kept.sample_ns[:] = parameters.timing.settle_ns
    kept.tia_words[:] = tias.GAIN_WORDS[0]
    for array in range(parameters.arrays):
        planted = faults.plant(parameters, plan, seed, array)
        kept.kinds[array], kept.flags[array] = planted.kinds, planted.flags
        start_us = device.draw_traits(parameters, seed, array).start_us
        if conductance is not None:
            given = np.asarray(conductance, dtype=np.float64)[array].ravel() * 1e6
            start_us = np.where(np.isnan(given), start_us, given)
        if start_us.min() < 0.0 or start_us.max() > _HIGHEST_US:
            raise ValueError("conductances are 0 to 1 mS; the array's cells do not reach farther")
        units = np.rint(start_us * UNITS_PER_US).astype(np.int32)
        kept.units[array] = np.where(planted.kinds > 0, planted.stuck_units, units)
    kept.stuck_adcs[:] = -1
    for pairs, flags, value in (
        (plan.dead_adcs, kept.stuck_adcs, 0),
        (plan.dead_rows, kept.dead_rows, 1),
        (plan.dead_cols, kept.dead_cols, 1),
        (plan.railed_tias, kept.railed_tias, 1),
    ):
        for place in pairs:
            flags[place] = value
    return kept


def _periphery(kept: state.ChipState, array: int) -> Periphery:
    parameters, seed = kept.parameters, kept.seed
    flags = kept.flags[array]
    traits = device.draw_traits(parameters, seed, array)
    traits = device.slowed(parameters.switching, traits, (flags & faults.SLOW) > 0)
    traits.noisiness[(flags & faults.NOISY) > 0] += 2.0
    readout = Readout(parameters.converters, seed, array)
    for fifo, code in enumerate(kept.stuck_adcs[array]):
        if code >= 0:
            readout.stick(fifo, int(code))
    places = column_order(array)
    readout.offset_lsb[places[kept.railed_tias[array] > 0]] = 1e6
    dead = kept.dead_rows[array]
    ends = parameters.wear.on or parameters.overdrive.on
    jumping = device.has_telegraph(parameters.fluctuation, traits.noisiness)
    return Periphery(
        traits=traits,
        fates=device.draw_fates(parameters, seed, array) if ends else None,
        jumping=jumping if jumping.any() else None,
        readout=readout,
        live_rows=(dead == 0).astype(np.float64) if dead.any() else None,
        fifo_columns=np.argsort(places),
        column_places=places,
        keys={purpose: random.stream(seed, purpose, array) for purpose in Purpose},
    )


class Die:
    """One powered chip: state, supply, simulated clock, and conductances as they are now.

    Changing state belongs inside one of its state's operations; reading it does not.
    """

    def __init__(self, kept: state.ChipState) -> None:
        self.state = kept
        self.parameters = kept.parameters
        self.book = Book(kept.time_ns, kept.energy_aj, kept.counts)
        self.peripheries = [_periphery(kept, array) for array in range(self.parameters.arrays)]
        self.versions = [0] * self.parameters.arrays  # grows whenever devices of an array moved
        self.take_stock()
        kept.journal.undone = self.take_stock

    def take_stock(self) -> None:
        """Work out anew what follows from the state."""
        self.clock_ns = self.book.clock_ns
        self.versions = [version + 1 for version in self.versions]
        kept = self.state
        modes = zip(kept.tia_words, kept.automatic, strict=True)
        self.tias = [tias.decoded(words.copy(), int(automatic)) for words, automatic in modes]
        self.take_power()

    def load_tias(self, array: int, words: NDArray[np.uint16], *, automatic: int) -> None:
        """Set the TIAs of an array by control words (cols,)."""
        with self.state.bookkeeping():
            self.state.tia_words[array] = words
            self.state.automatic[array] = automatic
        self.tias[array] = tias.decoded(words, automatic)

    def take_power(self) -> None:
        """Work out anew what the rails amount to."""
        kept = self.state
        self.supply = power(self.parameters, kept.rails, int(kept.supply_uv[0]), kept.sample_ns)
        times = [int(time) for time in kept.sample_ns]
        self._settle_ns = dict(enumerate(times)) | {AUTO_GAIN: max(times)}

    # Checks ----------------------------------------------------------------------------------

    def checked(self, array: int) -> int:
        """Return the array's number if there is such an array, else ValueError."""
        if not 0 <= array < self.parameters.arrays:
            raise ValueError(f"there is no array {array}; this chip has {self.parameters.arrays}")
        return array

    def devices(self, rows: ArrayLike, cols: ArrayLike) -> tuple[Devices, Devices, Devices]:
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

    # Ledgers ---------------------------------------------------------------------------------

    def spend(self, cause: TimeCause, duration_ns: int) -> None:
        """Let simulated time pass."""
        self.state.time_ns[cause] += duration_ns
        self.clock_ns += duration_ns

    def burn(self, cause: EnergyCause, attojoules: int) -> None:
        """Enter energy in the book."""
        self.state.energy_aj[cause] += attojoules

    def charge_conversions(self, times: tuple[int, int, int], number: int, each: int) -> None:
        """Charge `number` rounds of (settling, converting, reading out) with `each` columns taken."""
        settle, conversion, readout = times
        costs, spent, burnt = self.parameters.energy, self.state.time_ns, self.state.energy_aj
        spent[_SETTLE] += settle * number
        spent[_CONVERSION] += conversion * number
        spent[_READOUT] += readout * number
        self.clock_ns += (settle + conversion + readout) * number
        burnt[_TIA] += 1000 * costs.tia_uw * (settle + conversion) * each * number
        burnt[_ADC] += 1000 * costs.conversion_fj * each * number

    def settle_ns(self, gain: int) -> int:
        """Time until a sample is taken; automatic gain waits for its slowest."""
        return self._settle_ns[gain]

    def product_settle_ns(self, array: int) -> int:
        """Time until an array's columns are sampled: that of the slowest TIA that is on."""
        set_ = self.tias[array]
        if set_.uniform is not None:
            return self._settle_ns[set_.uniform]
        if set_.automatic:
            return self._settle_ns[AUTO_GAIN]
        return max((self._settle_ns[int(gain)] for gain in np.unique(set_.gains[set_.live])), default=0)

    def read_times(self, gain: int) -> tuple[int, int, int]:
        """Settling, converting and reading out one single-device read."""
        timing = self.parameters.timing
        return self.settle_ns(gain), timing.conversion_ns, FIFO_DEPTH * timing.word_ns

    # Conductance now -------------------------------------------------------------------------

    def shown(self, array: int, devices: Devices, age_ns: NDArray[np.int64] | int) -> Units:
        """Conductance (10 pS) of devices (n,) at an age of the array's programming: (n,) or scalar."""
        kept, model = self.state, self.parameters.relaxation
        units: Units = kept.units[array].take(devices)
        if not model.on or np.max(age_ns, initial=0) < model.onset_ns:
            return units
        moving = np.flatnonzero(kept.relaxing[array].take(devices))
        us = units[moving] / UNITS_PER_US
        events = kept.event_count[array].take(devices[moving])
        counters = random.device_counters(devices[moving], events)
        drawn = random.words(self.peripheries[array].keys[Purpose.EVENT], counters)
        ages = np.broadcast_to(np.asarray(age_ns, dtype=np.int64), devices.shape)[moving]
        spread = device.relaxation_us(model, us) * device.relaxation_scale(model, ages)
        moved = np.maximum(us + spread * random.normal(drawn, 0), self.parameters.switching.floor_us)
        units[moving] = np.where(spread > 0.0, np.rint(moved * UNITS_PER_US), units[moving])
        return units

    def all_shown(self, array: int) -> Units:
        """Conductance (10 pS) of all devices of an array now."""
        age, _ = self.age_ns(array, self.clock_ns)
        return self.shown(array, np.arange(self.parameters.devices), age)

    def age_ns(self, array: int, now_ns: int) -> tuple[int, int]:
        """Age of an array's last programming as far as relaxation goes, and when that changes.

        Relaxation starts when an array has been left alone for a second and is brought up to date
        at ages of 1, 2, 4, 8, ... seconds (between two of them a device moves 0.2 µS at most).
        """
        last = int(self.state.array_ns[array])
        onset = self.parameters.relaxation.onset_ns
        age = now_ns - last
        if age < onset:
            return 0, last + onset
        step = onset << ((age // onset).bit_length() - 1)
        return step, last + 2 * step

    def settle_devices(self, array: int) -> None:
        """Before the first pulse after a pause: devices stay as relaxed, and relax no further."""
        age, _ = self.age_ns(array, self.clock_ns)
        if age and self.state.relaxing[array].any():
            with self.state.pulsing(array):
                self.state.units[array] = self.all_shown(array)
                self.state.relaxing[array] = 0
            self.versions[array] += 1
