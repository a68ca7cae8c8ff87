"""The TIAs of one array as their control words set them: gains and enables, column by column.

A word has 10 bits: 9 and 8 enable op-amp and sample-and-hold, 7 and 6 add feedback capacitors of
400 and 150 fF, 5 the Miller capacitor, 4-0 connect one feedback resistor, 1 MΩ down to 1 kΩ. The
capacitors do nothing in this model: the sampling times are those that the group's words need.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim_chip.converters import AUTO_GAIN, GAIN_SHIFT, Readout, References, Signal

Indices = NDArray[np.intp]
Places = Indices | None

GAIN_WORDS = (0b1111100001, 0b1111100010, 0b1101000100, 0b1100001000, 0b1100010000)
"""What the group's host loads for 1k, 5k, 30k, 200k and 1 MΩ."""

_ENABLES = 0b11_0000_0000
_RESISTORS = 0b1_1111
_INDEX_OF = {1 << index: index for index in range(len(GAIN_WORDS))}


def checked_words(words: ArrayLike, cols: int) -> NDArray[np.uint16]:
    """Return control words (cols,); ValueError where one is none, or nobody knows what it does."""
    given = np.asarray(words)
    if given.shape != (cols,) or given.dtype.kind not in "iu":
        raise ValueError(f"TIA words are {cols} integers, not {given.shape} of {given.dtype}")
    if given.min() < 0 or given.max() >= 1 << 10:
        raise ValueError("a TIA word has 10 bits")
    for word in np.unique(given):
        if word & _ENABLES == _ENABLES and word & _RESISTORS not in _INDEX_OF:
            raise ValueError(f"TIA word {word:010b} is on with other than one feedback resistor: unknown")
    return given.astype(np.uint16)


@dataclass(frozen=True)
class Tias:
    """What the words of one array amount to; columns in order.

    uniform: the gain index of all columns, or that they all find it themselves, `AUTO_GAIN`;
    None where they differ or some are off. gains (cols,): where each starts; live (cols,).
    steady: they find it by the current without its noise, so every time the same.
    """

    uniform: int | None
    automatic: bool
    gains: Indices
    live: NDArray[np.bool_]
    steady: bool = False

    def gain_of(self, cols: Indices) -> int:
        """Return the gain index that columns have in common, `AUTO_GAIN` where they find it."""
        if self.uniform is not None or not len(cols):
            return self.uniform or 0
        return AUTO_GAIN if self.automatic else int(self.gains[cols[0]])

    def is_on(self, cols: Indices) -> bool:
        """Whether columns that are set alike convert anything."""
        return self.uniform is not None or bool(self.live[cols[:1]].all())


_TOP = len(GAIN_WORDS) - 1
AUTOMATIC = Tias(AUTO_GAIN, True, np.full(64, _TOP), np.ones(64, dtype=bool))


STEADY = 2
"""For `automatic` in `decoded`: the gain is found without noise."""


def decoded(words: NDArray[np.uint16], automatic: int) -> Tias:
    """Read checked words (cols,) off; automatic gain steps down from where each column starts."""
    gains = np.array([_INDEX_OF.get(int(word) & _RESISTORS, 0) for word in words], dtype=np.intp)
    live = words & _ENABLES == _ENABLES
    same = bool(live.all() and (gains == gains[0]).all())
    uniform: int | None = int(gains[0]) if same else None
    if automatic and same:
        uniform = AUTO_GAIN if uniform == _TOP else None
    return Tias(uniform, bool(automatic), gains, live, automatic == STEADY)


def words(
    tias: Tias, readout: Readout, signal: Signal, references: References, at: tuple[Indices, Places]
) -> NDArray[np.uint16]:
    """Convert currents to words, each column as its TIA is set; one that is off answers code 0.

    at: columns and their places in FIFO order, as currents have them; places None for all 64.
    """
    cols, places = at
    if tias.uniform is not None:
        return readout.words(signal, tias.uniform, references, places)
    shape = signal.current.shape
    where = np.broadcast_to(np.arange(len(tias.gains)) if places is None else places, shape)
    starts = np.broadcast_to(tias.gains[cols], shape)
    found = np.empty(shape, dtype=np.uint16)
    for gain in np.unique(starts):
        chosen = starts == gain
        variance = None if signal.variance is None else signal.variance[chosen]
        steady = None if signal.steady is None else signal.steady[chosen]
        part = Signal(signal.current[chosen], signal.unit, variance, signal.normal[chosen], steady)
        found[chosen] = readout.words(part, int(gain), references, where[chosen], automatic=tias.automatic)
    off = np.broadcast_to(~tias.live[cols], shape)
    found[off] = starts[off].astype(np.uint16) << np.uint16(GAIN_SHIFT)
    return found
