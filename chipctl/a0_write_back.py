"""Write-back of batches: that the chosen devices were reached and no others, seen in the next whole reading.

Packets of a batch are not answered and messages have no check sum, so what a batch did shows in the devices
alone. Each whole reading of an array in the ADCs' own window is compared, word by word, with the one before
the batches in between. These never share a device, so that each answers for its own: before a batch that
would share one, and before a session ends, the array is read for this purpose alone.

That a batch moves nothing is no fault by itself: ramps begin weakly, end on devices that are stuck, and one
SET more at the same gate does nothing. It tells something of devices that such a pulse or a weaker one has
moved before, and that have been moved back since.
"""

import contextlib
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chipctl import a0_facts as facts
from chipctl.a0_packets import PAIRS
from chipctl.a0_reads import Words
from firmware_protocol import a0_words as w
from firmware_protocol.a0_wire import LINES
from firmware_protocol.bulk import Flags, Ints
from firmware_protocol.messages import AUTO_GAIN, RESET, SET

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
MOST_STILL: Final = 5
"""So many batches in a row that move nothing, though some devices have moved by no stronger pulses: told."""

STRONG: Final = 0.75
"""Share of the limit from which pulses should move something, if nothing has moved before."""

_VOLTS_PER_CODE = 20 / w.DAC_TOP


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


@dataclass(frozen=True)
class Batch:
    """Pulses that devices got at once."""

    direction: int
    width_ns: int
    chosen: Flags
    """Shape (rows, cols)."""
    codes: Ints
    """Their voltages and gate voltages, codes of true volts, shape (2, rows, cols)."""
    limit_code: int
    """The highest voltage that they might have had."""

    @property
    def most_codes(self) -> tuple[int, int]:
        """The highest voltage and the highest gate voltage."""
        volts, gates = (int(each[self.chosen].max()) for each in self.codes)
        return volts, gates

    @property
    def is_strong(self) -> bool:
        """Whether its voltages come near the limit."""
        ground = facts.true_code(0.0)
        return self.most_codes[0] - ground >= STRONG * (self.limit_code - ground)

    def __str__(self) -> str:
        volts, gate = ((code - facts.true_code(0.0)) * _VOLTS_PER_CODE for code in self.most_codes)
        name = "SET" if self.direction == SET else "RESET"
        return f"{name} up to {volts:.2f} V at a gate of up to {gate:.2f} V, {self.width_ns} ns"


@dataclass
class _Batches:
    """Those of one array since its devices were seen."""

    before: dict[int, Words]
    """The readings before, by gain index or `AUTO_GAIN`."""
    given: list[Batch] = field(default_factory=list)
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
        self._moved_back: dict[tuple[int, int], Flags] = {}
        """Devices that were moved the other way last, by array and direction."""
        self._moved_by: dict[tuple[int, int, int], Ints] = {}
        """Codes of the pulses that moved each device last, by array, direction and width, as of a batch."""
        self._still: list[Batch] = []
        """Batches in a row that moved nothing and should have."""
        self._strongest: Batch | None = None

    def saw(self, array: int, gain: int, words: Words) -> None:
        """Take in all devices of an array, read in the ADCs' own window at a gain index or `AUTO_GAIN`."""
        known = self._arrays.get(array)
        if known is None or (known.given and gain in known.before):
            self._arrays[array] = _Batches({gain: words})
            if known is not None:
                self._compare(array, known, known.before[gain], words)
        elif not known.given and not known.alone.any():
            known.before[gain] = words
        elif not known.given:
            self._arrays[array] = _Batches({gain: words})

    def prepare(self, array: int, chosen: Flags) -> None:
        """See that a batch for these devices, shape (rows, cols), can be told from those before it."""
        known = self._arrays.get(array)
        if known is None or any((chosen & each.chosen).any() for each in known.given):
            self._look_at(array)

    def verify(self) -> None:
        """Read the arrays with batches that no reading has followed."""
        for array, known in list(self._arrays.items()):
            if known.given:
                self._look_at(array)

    def _look_at(self, array: int) -> None:
        before = self._arrays[array].before if array in self._arrays else {}
        self._look(array, AUTO_GAIN if AUTO_GAIN in before or not before else min(before))

    def gave(self, array: int, batch: Batch) -> None:
        """Take note of a batch, confirmed or not."""
        self._arrays[array].given.append(batch)
        self._arrays[array].signs[batch.chosen] = 1 if batch.direction == SET else -1
        if self._strongest is None or batch.most_codes > self._strongest.most_codes:
            self._strongest = batch

    def gave_alone(self, array: int, chosen: Flags) -> None:
        """Take note of devices that are pulsed one by one, each confirmed: they answer for themselves."""
        if array in self._arrays:
            self._arrays[array].alone |= chosen

    def forget(self) -> None:
        """Readings are not comparable with those before: levels or times of reading were changed."""
        self.counts.unverified += sum(len(known.given) for known in self._arrays.values())
        self._arrays = {}

    def _compare(self, array: int, known: _Batches, before: Words, after: Words) -> None:
        change = _amps(after) - _amps(before)
        rest = ~known.alone & (known.signs == 0)
        noise = float(np.median(np.abs(change[rest]))) if rest.any() else 0.0
        ohms = np.take(facts.GAIN_OHMS, np.minimum(before.gains, after.gains))
        moved = np.abs(change) > np.maximum(NOISES * noise, COARSE_CODES * facts.VOLTS_PER_CODE / ohms)
        strays = moved & ~known.alone & (change * known.signs <= 0)
        self._tell_strays(array, strays, ~known.alone)
        for batch in known.given:
            onward, back = (
                moved & batch.chosen & ~known.alone & (change * known.signs * way > 0) for way in (1, -1)
            )
            self._judge(array, batch, onward, back)

    def _tell_strays(self, array: int, strays: Flags, judged: Flags) -> None:
        found, of = (each.reshape(PAIRS, -1).sum(axis=1) for each in (strays, judged))
        pairs = np.flatnonzero(found >= STRAYS + 4 * _share_by_themselves(found, of) * of)
        if pairs.size:
            count = int(found[pairs].sum())
            self.counts.strays += count
            rows = ", ".join(f"{2 * pair}-{2 * pair + 1}" for pair in pairs)
            _warn(
                f"array {array}: {count} devices that were not chosen moved in rows {rows}: packets of a "
                "batch were lost or damaged; read these rows and program again what was to stay; if it comes "
                "again, look at cable and hub"
            )

    def _judge(self, array: int, batch: Batch, onward: Flags, back: Flags) -> None:
        """By its devices that moved its way and against it; by themselves as many move each way."""
        self.counts.verified += 1
        ahead, behind = int(onward.sum()), int(back.sum())
        ready, ready_for_other = (
            self._moved_back.setdefault((array, direction), np.zeros_like(onward))
            for direction in (batch.direction, SET + RESET - batch.direction)
        )
        moved_by = self._moved_by.setdefault(
            (array, batch.direction, batch.width_ns), np.full_like(batch.codes, w.DAC_TOP)
        )
        if ahead - behind > 1 + 2 * (ahead + behind) ** 0.5:
            self._still = []
            ready &= ~onward
            ready_for_other |= onward
            moved_by[:, onward] = batch.codes[:, onward]
            return
        self.counts.still += 1
        should = batch.chosen & ready & (batch.codes >= moved_by).all(axis=0)
        if np.count_nonzero(should) >= STRAYS:
            self._still.append(batch)
            if len(self._still) == MOST_STILL:
                strongest = max(self._still, key=lambda each: each.most_codes)
                _warn(_nothing_moved(f"array {array}: the last {MOST_STILL} batches", strongest))

    def end(self) -> None:
        """Tell of a connection none of whose batches has moved a device, though some were strong."""
        counts, self.counts = self.counts, BatchCounts()
        all_still = counts.still == counts.verified > 0 and not counts.strays
        if all_still and self._strongest is not None and self._strongest.is_strong:
            _warn(_nothing_moved(f"all {counts.verified} batches", self._strongest))
        if counts.unverified:
            _warn(f"{counts.unverified} batches could not be verified; read the devices")


def _nothing_moved(batches: str, strongest: Batch) -> str:
    return (
        f"{batches} moved none of the devices ({strongest}): too low a gate, devices at the end of their "
        "range, or no pulse arrived; pulse the other way, then look at the board's supply and its reset"
    )


_OURS: Final = (str(Path(__file__).parent), contextlib.__file__)


def _warn(text: str) -> None:
    """Warn the line outside of this package from which it came."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_code.co_filename.startswith(_OURS):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, BatchWarning, stacklevel=level)


def _amps(words: Words) -> NDArray[np.float64]:
    volts = (words.codes - facts.ZERO_CODES) * facts.VOLTS_PER_CODE
    return np.asarray(volts / np.take(facts.GAIN_OHMS, words.gains))


def _share_by_themselves(found: Ints, of: Ints) -> float:
    """Share of devices that move without a pulse, by the three quarters of the rows that move least.

    found, of: those that moved and all that are judged, by pair of rows.
    """
    least = np.argsort(found / np.maximum(of, 1))[: 3 * PAIRS // 4]
    return min(_MOST_BY_THEMSELVES, float(found[least].sum() / max(1, of[least].sum())))
