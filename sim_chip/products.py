"""Products of a whole array with vectors on its rows."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim_chip import crossbar, device, random, tias
from sim_chip.book import Count, EnergyCause
from sim_chip.converters import FIFO_DEPTH, FIFOS_PER_ARRAY, Signal
from sim_chip.crossbar import SIEMENS_PER_UNIT
from sim_chip.device import UNITS_PER_US
from sim_chip.die import Die, Floats, Units
from sim_chip.random import Purpose

WordArray = NDArray[np.uint16]
Key = tuple[int, int, int]  # age of the programming, version of the array, transistor mΩ

_BLOCK = 64  # vectors worked on at a time: stays in cache, and below BLAS's threading threshold
_WORDS = FIFOS_PER_ARRAY * FIFO_DEPTH


@dataclass
class _Cached:
    """A product map, what it was made for, and its currents while no device jumps."""

    key: Key
    map: crossbar.ProductMap
    stay: int
    currents: Floats


class Products:
    """Multiplies on one die, with the wires solved once per change of an array."""

    def __init__(self, die: Die) -> None:
        self._die = die
        self._cache: list[_Cached | None] = [None] * die.parameters.arrays
        self._drawn = [(0, np.empty((0, _WORDS)))] * die.parameters.arrays
        self._full = die.parameters.row_code_max

    def multiply(self, array: int, row_codes: ArrayLike, columns: ArrayLike | None) -> WordArray:
        """Drive rows (vectors, rows) and convert columns; words (vectors, 4 FIFOs, 16)."""
        die = self._die
        die.checked(array)
        drive = self._drive(row_codes)
        places = None if columns is None else np.asarray(columns, dtype=bool)
        taken = self._taken(array, places)
        settle_ns = die.product_settle_ns(array)
        times = (settle_ns, *self._times(array, places))
        slot = max(1, sum(times))  # nothing converted takes no time
        words = np.empty((len(drive), _WORDS), dtype=np.uint16)
        done = 0
        while done < len(drive):
            age, following = die.age_ns(array, die.clock_ns)
            if die.peripheries[array].jumping is not None:
                following = min(following, (self._stay() + 1) * die.parameters.fluctuation.telegraph_ns)
            number = min(_BLOCK, len(drive) - done, -(-(following - die.clock_ns) // slot))
            part = slice(done, done + number)
            maps = self._cached(array, age)
            with die.state.bookkeeping():
                self._multiply_block(array, maps, drive[part], words[part], settle_ns)
                die.charge_conversions(times, number, taken)
            done += number
        if places is not None:
            words[:, ~places[die.peripheries[array].fifo_columns]] = 0
        return words.reshape(-1, FIFOS_PER_ARRAY, FIFO_DEPTH)

    def _drive(self, row_codes: ArrayLike) -> NDArray[np.generic]:
        """Check what is put on the rows: bits, or codes of the rows' DACs."""
        codes = np.asarray(row_codes)
        if codes.ndim == 1:
            codes = codes[None]
        rows = self._die.parameters.rows
        if codes.ndim != 2 or codes.shape[1] != rows:
            raise ValueError(f"row bits are (vectors, {rows}), not {codes.shape}")
        if self._full > 1 and codes.size and (codes.min() < 0 or codes.max() > self._full):
            raise ValueError(f"row codes are 0 to {self._full}")
        return codes

    def _multiply_block(
        self, array: int, maps: _Cached, row_codes: NDArray[np.generic], words: WordArray, settle_ns: int
    ) -> None:
        """One cache-sized block of products, all with the same map; writes words (n, 64)."""
        die = self._die
        kept, periphery, read_uv = die.state, die.peripheries[array], die.supply.read_uv
        # Whatever is not zero is a bit that is set
        whole = row_codes.astype(np.bool_ if self._full == 1 else np.int64)
        drive = whole.astype(np.float64)
        if periphery.live_rows is not None:
            drive *= periphery.live_rows
        signal = self._signal(array, drive, maps, read_uv)
        at = periphery.fifo_columns, None
        words[:] = tias.words(die.tias[array], periphery.readout, signal, die.supply.references, at)
        kept.product_count[array] += len(drive)
        kept.counts[Count.PRODUCTS] += len(drive)
        squares = drive if self._full == 1 else drive * drive / self._full**2
        power = squares.dot(maps.map.total)
        power *= float(read_uv) * read_uv * 1e-13 * settle_ns
        np.rint(power, out=power)
        die.burn(EnergyCause.ARRAY, int(power.sum()))
        die.burn(EnergyCause.ROWS, 1000 * die.parameters.energy.row_fj * int(np.count_nonzero(drive)))

    def _signal(self, array: int, drive: Floats, maps: _Cached, read_uv: int) -> Signal:
        """Column currents of a drive (n, rows), with the variance of their fluctuation."""
        current: Floats = drive.dot(maps.currents)
        current *= read_uv
        variance = None
        if maps.map.variance is not None:
            variance = maps.map.variance.of(drive)
            variance *= float(read_uv) * read_uv
        normal = self._normals(array, int(self._die.state.product_count[array]), len(drive))
        steady = current if self._die.tias[array].steady else None
        return Signal(current, crossbar.MAP_SIEMENS * 1e-6 / self._full, variance, normal, steady)

    def _normals(self, array: int, first: int, number: int) -> Floats:
        """Standard normals (number, 64) of some products, at most a block; a whole block is drawn at once."""
        start, drawn = self._drawn[array]
        if not 0 <= first - start <= len(drawn) - number:
            key = self._die.peripheries[array].keys[Purpose.PRODUCT]
            counters = np.arange(first * FIFO_DEPTH, (first + _BLOCK) * FIFO_DEPTH)
            start, drawn = first, random.normals(random.words(key, counters)).reshape(_BLOCK, _WORDS)
            self._drawn[array] = start, drawn
        return drawn[first - start : first - start + number]

    def _taken(self, array: int, columns: NDArray[np.bool_] | None) -> int:
        """Number of columns that are converted: asked for, and their TIA on."""
        tias_ = self._die.tias[array]
        if tias_.uniform is None:
            return int((tias_.live if columns is None else tias_.live & columns).sum())
        return _WORDS if columns is None else int(columns.sum())

    def _times(self, array: int, columns: NDArray[np.bool_] | None) -> tuple[int, int]:
        """Converting and reading out one product: the four ADCs work in parallel."""
        die = self._die
        timing = die.parameters.timing
        used, longest = FIFOS_PER_ARRAY, FIFO_DEPTH
        if columns is not None:
            in_order = columns[die.peripheries[array].fifo_columns]
            counts = in_order.reshape(FIFOS_PER_ARRAY, FIFO_DEPTH).sum(axis=1)
            used, longest = int((counts > 0).sum()), int(counts.max())
        return timing.conversion_ns * longest, timing.word_ns * FIFO_DEPTH * used

    # Maps ------------------------------------------------------------------------------------

    def _stay(self) -> int:
        """Number of the shortest stay in a telegraph level that it is now."""
        return self._die.clock_ns // self._die.parameters.fluctuation.telegraph_ns

    def _cached(self, array: int, age_ns: int) -> _Cached:
        """Return an array's product map at an age of its programming, solving wires if need be."""
        die = self._die
        key = (age_ns, die.versions[array], die.supply.milliohms)
        cached = self._cache[array]
        if cached is None or cached.key != key:
            made = self._map(array, key)
            cached = self._cache[array] = _Cached(key, made, -1, made.currents)
        if cached.map.jumps is not None and cached.stay != self._stay():
            cached.stay = self._stay()
            cached.currents = cached.map.currents + cached.map.jumps * self._levels(array)
        return cached

    def _levels(self, array: int) -> Floats:
        """Telegraph level now of every device (rows, cols), columns in FIFO order."""
        die, parameters = self._die, self._die.parameters
        periphery = die.peripheries[array]
        levels = device.telegraph_level(
            parameters.fluctuation,
            periphery.keys[Purpose.TELEGRAPH],
            np.arange(parameters.devices),
            np.array(die.clock_ns, dtype=np.int64),
        )
        return levels.reshape(parameters.rows, parameters.cols)[:, periphery.fifo_columns]

    def _map(self, array: int, key: Key) -> crossbar.ProductMap:
        die = self._die
        age_ns, _, milliohms = key
        parameters = die.parameters
        units = die.shown(array, np.arange(parameters.devices), age_ns)
        ohms = inf if milliohms < 0 else milliohms / 1000.0
        cells = crossbar.cell_siemens(units.reshape(parameters.rows, parameters.cols), ohms)
        cells[:, die.state.dead_cols[array] > 0] = 0.0
        solution = self._solution(array, units, milliohms, cells)
        noise = self._noise(array, units, cells) if parameters.fluctuation.on else None
        order = die.peripheries[array].fifo_columns
        return crossbar.product_map(parameters.wires, cells, solution, noise, order)

    def _noise(self, array: int, units: Units, cells: Floats) -> crossbar.Noise:
        """Fluctuation of every device, as seen at the cell behind its transistor."""
        model, periphery = self._die.parameters.fluctuation, self._die.peripheries[array]
        sigma = device.fluctuation_us(model, units / UNITS_PER_US, periphery.traits.noisiness)
        share = cells / np.maximum(units.reshape(cells.shape) * SIEMENS_PER_UNIT, 1e-12)
        sigma = sigma.reshape(cells.shape) * (share * share)
        siemens = sigma * (UNITS_PER_US * SIEMENS_PER_UNIT)
        if periphery.jumping is None:
            return crossbar.Noise(siemens, None, self._full)
        jumping = periphery.jumping.reshape(cells.shape)
        white = np.where(jumping, siemens * sqrt(1.0 - model.telegraph_share), siemens)
        jumps = np.where(jumping, siemens * sqrt(model.telegraph_share), 0.0)
        return crossbar.Noise(white, jumps, self._full)

    def _solution(self, array: int, units: Units, milliohms: int, cells: Floats) -> crossbar.WireSolution:
        """Return the stored wire solution if it is of these conductances, else solve and store."""
        kept, shape = self._die.state, cells.shape
        # Zero, as in a new state, stands for "not solved"
        if kept.solved_milliohms[array] != milliohms + 2 or not np.array_equal(
            kept.solved_units[array], units
        ):
            solution = crossbar.solved(self._die.parameters.wires, cells)
            kept.solved_milliohms[array] = 0
            kept.solved[array] = solution.transconductance.ravel()
            kept.solved_all_on[array] = solution.all_on.ravel()
            kept.solved_units[array] = units
            kept.solved_milliohms[array] = milliohms + 2
        return crossbar.WireSolution(
            kept.solved[array].reshape(shape), kept.solved_all_on[array].reshape(shape)
        )
