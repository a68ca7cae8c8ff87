"""Write-back of batches: that the chosen devices were reached and no others, seen in the next whole reading.

Packets of a batch are not answered and messages have no check sum, so what a batch did shows in the devices
alone. Each whole reading of an array in the ADCs' own window is compared, word by word, with the one before
the batches in between. These never share a device, so that each answers for its own: before a batch that
would share one, and before a session ends, the array is read for this purpose alone.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from chipctl import a0_facts as facts
from chipctl.a0_packets import PAIRS
from chipctl.a0_reads import Words
from firmware_protocol.a0_wire import LINES
from firmware_protocol.bulk import Flags
from firmware_protocol.messages import AUTO_GAIN, SET

COARSE_CODES = 16
"""A device has moved if its current changed by more than this, a step of the ADCs where they are coarse, …"""

NOISES = 10
"""… and by more than so many medians of what the devices changed that got no pulse: that is noise, with the
rare jumps of single devices in it."""

STRAYS = 6
"""So many devices that got no pulse must have moved in two rows, which is what a packet holds, besides four
times as many as move by themselves, to be told as pulsed by mistake; likewise of those that moved against
their own pulse."""

_MOST_BY_THEMSELVES = 0.1
"""Share of devices: more is no noise, but many that were pulsed by mistake."""
_STILL_RUNNING = 25
"""Steps of a ramp as published: fewer batches in a row that move nothing may be its weak beginning."""


class BatchWarning(UserWarning):
    """A batch did what it was not to do, or nothing."""


@dataclass
class BatchCounts:
    """What became of the batches of a connection."""

    verified: int = 0
    still: int = 0
    """Those of them that moved none of their devices."""
    strays: int = 0
    """Devices that were not chosen, or for the other direction, in rows where many of them moved."""
    unverified: int = 0
    """Batches after which no reading could be compared with one before."""


@dataclass
class _Batches:
    """Those of one array since its devices were seen."""

    before: dict[int, Words]
    """The readings before, by gain index or `AUTO_GAIN`."""
    chosen: list[Flags] = field(default_factory=list)
    """The devices of each batch."""
    signs: NDArray[np.int8] = field(default_factory=lambda: np.zeros((LINES, LINES), np.int8))
    """Which way each device of a batch goes: 1 by SET, -1 by RESET, 0 of none."""
    alone: Flags = field(default_factory=lambda: np.zeros((LINES, LINES), np.bool_))
    """Devices pulsed one by one."""


class A0WriteBack:
    """Compares whole readings with those before the batches between them."""

    def __init__(self, look: Callable[[int, int], None]) -> None:
        """`look` reads an array at a gain index or `AUTO_GAIN`, which comes to `saw`."""
        self._look = look
        self.counts = BatchCounts()
        self._arrays: dict[int, _Batches] = {}
        self._still_running = 0

    def saw(self, array: int, gain: int, words: Words) -> None:
        """Take in all devices of an array, read in the ADCs' own window at a gain index or `AUTO_GAIN`."""
        known = self._arrays.get(array)
        if known is None or (known.chosen and gain in known.before):
            self._arrays[array] = _Batches({gain: words})
            if known is not None:
                self._compare(array, known, known.before[gain], words)
        elif not known.chosen and not known.alone.any():
            known.before[gain] = words
        elif not known.chosen:
            self._arrays[array] = _Batches({gain: words})

    def prepare(self, array: int, chosen: Flags) -> None:
        """See that a batch for these devices, shape (rows, cols), can be told from those before it."""
        known = self._arrays.get(array)
        if known is None or any((chosen & each).any() for each in known.chosen):
            self._look_at(array)

    def verify(self) -> None:
        """Read the arrays with batches that no reading has followed."""
        for array, known in list(self._arrays.items()):
            if known.chosen:
                self._look_at(array)

    def _look_at(self, array: int) -> None:
        before = self._arrays[array].before if array in self._arrays else {}
        self._look(array, AUTO_GAIN if AUTO_GAIN in before or not before else min(before))

    def gave(self, array: int, direction: int, chosen: Flags) -> None:
        """Take note of a batch, confirmed or not."""
        self._arrays[array].chosen.append(chosen.copy())
        self._arrays[array].signs[chosen] = 1 if direction == SET else -1

    def gave_alone(self, array: int, chosen: Flags) -> None:
        """Take note of devices that are pulsed one by one, each confirmed: they answer for themselves."""
        if array in self._arrays:
            self._arrays[array].alone |= chosen

    def forget(self) -> None:
        """Readings are not comparable with those before: levels or times of reading were changed."""
        self.counts.unverified += sum(len(known.chosen) for known in self._arrays.values())
        self._arrays = {}

    def _compare(self, array: int, known: _Batches, before: Words, after: Words) -> None:
        change = _amps(after) - _amps(before)
        rest = ~known.alone & (known.signs == 0)
        noise = float(np.median(np.abs(change[rest]))) if rest.any() else 0.0
        ohms = np.take(facts.GAIN_OHMS, np.minimum(before.gains, after.gains))
        moved = np.abs(change) > np.maximum(NOISES * noise, COARSE_CODES * facts.VOLTS_PER_CODE / ohms)
        strays = moved & ~known.alone & (change * known.signs <= 0)
        share = _share_by_themselves(strays, ~known.alone)
        self._tell_strays(array, strays, ~known.alone, share)
        for chosen in known.chosen:
            ways = (change * known.signs)[chosen & ~known.alone & moved]
            self._tell_if_still(array, int((ways > 0).sum()), int((ways < 0).sum()))

    def _tell_strays(self, array: int, strays: Flags, judged: Flags, share: float) -> None:
        found, of = (each.reshape(PAIRS, -1).sum(axis=1) for each in (strays, judged))
        pairs = np.flatnonzero(found >= STRAYS + 4 * share * of)
        if pairs.size:
            count = int(found[pairs].sum())
            self.counts.strays += count
            rows = ", ".join(f"{2 * pair}-{2 * pair + 1}" for pair in pairs)
            _warn(
                f"array {array}: {count} devices that were not chosen moved in rows {rows}: packets of a "
                "batch were lost or damaged; read these rows and program again what was to stay; if it comes "
                "again, look at cable and hub"
            )

    def _tell_if_still(self, array: int, onward: int, back: int) -> None:
        """Judge a batch by its devices that moved its way and against it, by themselves as many each way."""
        self.counts.verified += 1
        if onward - back > 1 + 2 * (onward + back) ** 0.5:
            self._still_running = 0
            return
        self.counts.still += 1
        self._still_running += 1
        if self._still_running % _STILL_RUNNING == 0:
            _warn(_nothing_moved(f"array {array}: the last {self._still_running} batches"))

    def end(self) -> None:
        """Tell of a connection none of whose batches has moved a device."""
        counts, self.counts = self.counts, BatchCounts()
        all_still = counts.still == counts.verified > 0 and not counts.strays
        if all_still and self._still_running < _STILL_RUNNING:
            _warn(_nothing_moved(f"all {counts.verified} batches"))
        if counts.unverified:
            _warn(f"{counts.unverified} batches could not be verified; read the devices")


def _nothing_moved(batches: str) -> str:
    return (
        f"{batches} moved none of the devices: pulses too weak, devices at the end of their range, or none "
        "arrived; compare with a stronger pulse, then look at the board's supply and its reset"
    )


def _warn(text: str) -> None:
    warnings.warn(text, BatchWarning, stacklevel=2)


def _amps(words: Words) -> NDArray[np.float64]:
    volts = (words.codes - facts.ZERO_CODES) * facts.VOLTS_PER_CODE
    return np.asarray(volts / np.take(facts.GAIN_OHMS, words.gains))


def _share_by_themselves(strays: Flags, judged: Flags) -> float:
    """Share of devices that move without a pulse, by the three quarters of the rows that move least."""
    found, of = (each.reshape(PAIRS, -1).sum(axis=1) for each in (strays, judged))
    least = np.argsort(found / np.maximum(of, 1))[: 3 * PAIRS // 4]
    return min(_MOST_BY_THEMSELVES, float(found[least].sum() / max(1, of[least].sum())))
