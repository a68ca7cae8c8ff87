"""Packets of a batch for a board that keeps what it was sent, so that losing some of them replays nothing.

A device is pulsed if neither its voltage nor its gate code is 0. Each packet holds the voltages, or the
gates, of two rows, and is not answered; a lost one leaves older codes in its place, which are reached by as
many losses as there were packets for the same place since. So the older codes of each place are known here,
and packets of skips go before the new one wherever losses would lead to a pulse that was not asked for.
"""

from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_protocol.a0_wire import LINES
from firmware_protocol.a0_words import SKIP_CODE
from firmware_protocol.bulk import Flags, Ints
from firmware_protocol.messages import SET

MOST_LOST: Final = 2
"""So many lost packets never pulse a device that was not chosen, nor SET one at a higher gate."""

MOST_STALE: Final = 1
"""So many never give a chosen device any other pulse than its own."""

PAIRS: Final = LINES // 2
_UNKNOWN: Final = 0x10000
"""In place of a code that nobody knows: higher than any."""

_COUNTS: Final = sorted(
    product(range(MOST_LOST + 2), repeat=2), key=lambda counts: (sum(counts), max(counts))
)
"""Packets for the voltages and for the gates of two rows, the fewest first. Of several for one place all but
the last are skips. Among as few as these, none is left with one packet less than the other needs."""


class Packets:
    """What the board's buffers may hold, and the packets that bring a batch into them."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """After a start, or a batch that was cut off: nobody knows what the buffers hold."""
        self._held = np.full((2, MOST_LOST + 1, PAIRS, 2 * LINES), _UNKNOWN, np.int64)
        """Codes of voltages and of gates, those on top first, below them what losses of one, two … leave."""

    def of(self, direction: int, codes: Ints) -> list[tuple[int, NDArray[np.int64]]]:
        """First row and codes (2, 64) of each packet to send, before the one that starts the batch.

        `codes` (128, 64) are the voltages and gates of the batch. The caller says `forget` if not all of them
        go out. Skips go first and those for one place far apart, since losses come together. The last device
        of the array keeps its codes in packets of skips: a batch ends with it, whatever is lost.
        """
        wanted = np.asarray(codes, np.int64).reshape(2, PAIRS, 2 * LINES)
        self._held[1, :, -1] = wanted[1, -1]  # in the packet without which no batch starts
        counts, self._held = self._fewest(direction, wanted)
        packets = []
        for layer in range(MOST_LOST, -1, -1):
            for kind, pair in np.argwhere(counts > layer):
                row = int(kind * LINES + 2 * pair)
                part = _skips(wanted[kind])[pair] if layer else wanted[kind, pair]
                packets.append((row, part.reshape(2, LINES)))
        return packets

    def _fewest(self, direction: int, wanted: Ints) -> tuple[Ints, Ints]:
        """How many packets each place takes, (2, pairs), and what the buffers may hold then."""
        counts, held = np.full((2, PAIRS), -1), self._held.copy()
        for each in _COUNTS:
            after = np.stack([_sent(*part) for part in zip(self._held, wanted, each, strict=True)])
            fine = (after[:, 0] == wanted).all(axis=(0, 2)) & ~_replays(direction, *after)
            fine &= (counts < 0).any(axis=0)
            counts[:, fine] = np.array(each)[:, None]
            held[:, :, fine] = after[:, :, fine]
            if (counts >= 0).all():
                break
        return counts, held


def _sent(held: Ints, codes: Ints, count: int) -> Ints:
    """What may be held after so many packets for each pair of rows, the last one with `codes`."""
    if not count:
        return held
    skips = np.repeat(_skips(codes)[None], count - 1, axis=0)
    return np.concatenate([codes[None], skips, held])[: len(held)]


def _skips(codes: Ints) -> Ints:
    """Packets of skips before those of some codes, (pairs, 128)."""
    skips = np.full_like(codes, SKIP_CODE)
    skips[-1, -1] = codes[-1, -1]
    return skips


def _replays(direction: int, volts: Ints, gates: Ints) -> Flags:
    """In which pairs of rows losses would give a device what it is not to get."""
    chosen = (volts[0] != SKIP_CODE) & (gates[0] != SKIP_CODE)
    chosen[-1, -1] = False  # with whose own codes the batch ends
    found = np.zeros(PAIRS, np.bool_)
    for lost_volts, lost_gates in product(range(MOST_LOST + 1), repeat=2):
        lost = lost_volts + lost_gates
        if not 0 < lost <= MOST_LOST:
            continue
        volt, gate = volts[lost_volts], gates[lost_gates]
        stale = (volt != SKIP_CODE) & (gate != SKIP_CODE) & ((volt != volts[0]) | (gate != gates[0]))
        if lost > MOST_STALE:
            stale &= ~chosen | ((gate > gates[0]) & (direction == SET))
        found |= stale.any(axis=1)
    return found
