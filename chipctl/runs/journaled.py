"""A board whose every pulse is in the journal before it is sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from chipctl.a0_board import SCHEME, A0Board, A0Place
from chipctl.board import NativeBoard
from chipctl.chip import Chip
from chipctl.errors import ChipctlError, ProtocolError
from chipctl.link import Link
from chipctl.profile import ChipProfile
from chipctl.runs.journal import Counts, Done, Fate, Intent, Journal
from chipctl.transport import open_transport
from firmware_protocol import bulk, plans
from firmware_protocol import messages as m
from firmware_protocol.bulk import LoggedEffect
from firmware_protocol.status import Executed

Effect = m.Pulse | m.PulseMap | m.Sweep | m.StartProgram | m.StartScan
"""Requests that give pulses: all of them go through the journal."""

Placed = tuple[Counts, Counts | None]
"""Pulses by device, and how many of them were SET, where that is known; shape (rows, cols)."""


if TYPE_CHECKING:
    _Below = NativeBoard
else:
    _Below = object
"""Whichever board is journaled comes behind it in the order of bases."""


class Journaling(_Below):
    """Writes down what each effect is to do before it is sent, and afterwards what became of it.

    Where no answer comes, nothing is guessed: the entry stays open until the board can be asked, at the
    latest before the next effect on this chip, by this process or the next one.

    Raises, besides what the board does:
        StorageError: The journal cannot be written. Nothing is sent without its entry; an outcome that
            cannot be written is asked for again later.
    """

    def __init__(self, below: Any, journal: Journal, run: str = "") -> None:
        """`below` is what the board itself is made with."""
        super().__init__(below)
        self._journal, self._run = journal, run
        self._jobs: dict[int, int] = {}
        """The entry of each job of this session that is open."""

    @cached_property
    def chip(self) -> int:
        """The journal's number of the chip behind this board when it was first asked."""
        self._serial = self.welcome.serial
        return self._journal.chip(self._serial, self.state().total_pulses)

    # Effects

    def pulse(self, request: m.Pulse) -> m.Pulsed:
        """Give a rectangle the same pulses."""
        number, intent = self._intend(request)
        pulsed = super().pulse(request)
        self._settle(number, self._spread(intent), pulsed.total_pulses)
        return pulsed

    def pulse_map(
        self, array: int, direction: int, width_ns: int, volt_codes: bulk.Ints, gate_codes: bulk.Ints
    ) -> m.Pulsed:
        """Give each device its own pulse; code 0 skips it."""
        staged = bulk.pack_pulse_map(volt_codes, gate_codes)
        number, intent = self._intend(m.PulseMap(array, direction, width_ns, 0), staged)
        pulsed = super().pulse_map(array, direction, width_ns, volt_codes, gate_codes)
        self._settle(number, self._spread(intent), pulsed.total_pulses)
        return pulsed

    def sweep(self, request: m.Sweep, volt_codes: bulk.Ints) -> tuple[bulk.Ints, bulk.Ints]:
        """Give one device a staircase: ADC codes and gain indices, shape (steps,) each."""
        staged = bulk.pack_staircase(volt_codes)
        number, intent = self._intend(replace(request, steps=volt_codes.size), staged)
        found = super().sweep(request, volt_codes)
        self._settle(number, self._spread(intent), self.state().total_pulses)
        return found

    def program(
        self, request: m.StartProgram, staged: bytes, most_safes: int | None = None
    ) -> Iterator[m.Job]:
        """Run a write-and-verify job, yielding its progress until it has ended."""
        self._jobs[request.job_id], _ = self._intend(request, staged)
        yield from super().program(request, staged, most_safes)

    def program_report(self, job_id: int) -> bulk.ProgramCodes:
        """The per-device report of an ended job."""
        codes = super().program_report(job_id)
        self._job_ended(job_id, (codes.set_pulses + codes.reset_pulses, codes.set_pulses))
        return codes

    def scan(self, request: m.StartScan, staged: bytes) -> Iterator[m.Job]:
        """Run a fault scan on the board, yielding its progress until it has ended."""
        self._jobs[request.job_id], _ = self._intend(request, staged)
        yield from super().scan(request, staged)

    def scan_report(self, job_id: int) -> plans.ScanCodes:
        """The per-device report of an ended scan."""
        codes = super().scan_report(job_id)
        self._job_ended(job_id, (codes.pulses, None))
        return codes

    # The journal

    def settle(self) -> int:
        """Ask the board about every effect on this chip of which the outcome is not known; how many.

        A job that still runs for a host that is gone is waited for: its lease ends it within two seconds.

        Raises:
            ProtocolError: Another chip has come to this port since; nothing is settled.
        """
        open_entries = self._journal.open_entries(self.chip)
        for entry in open_entries:
            self._require_the_same_chip(entry.intent)
            done = self._found_out(entry.intent)
            self._journal.settle(entry.id, done, self.state().total_pulses)
        self._jobs.clear()
        return len(open_entries)

    def _require_the_same_chip(self, intent: Intent) -> None:
        """Only the chip that an effect was meant for can say what became of it."""
        now, total = self.welcome.serial, self.state().total_pulses
        if now != self._serial or total < intent.total_before:
            raise ProtocolError(
                f"another chip is at this port now ({now}, {total} pulses), not {self._serial} with at least "
                f"{intent.total_before}: what became of that one's pulses stays open; connect it again"
            )

    @property
    def _shape(self) -> tuple[int, int]:
        return self.info.rows, self.info.cols

    def _intend(self, request: Effect, staged: bytes = b"") -> tuple[int, Intent]:
        self.settle()
        intent = Intent(
            run=self._run,
            request=type(request).__name__,
            array=request.array,
            job_id=getattr(request, "job_id", 0),
            boot_id=self.welcome.boot_id,
            total_before=self.state().total_pulses,
            fields=request.pack(),
            staged=staged,
        )
        return self._journal.intend(self.chip, intent), intent

    def _settle(self, number: int, placed: Placed, total: int) -> None:
        self._journal.settle(number, Done(Fate.PLACED, *placed), total)

    def _job_ended(self, job_id: int, placed: Placed) -> None:
        number = self._jobs.pop(job_id, None)
        if number is not None:
            self._settle(number, placed, self.state().total_pulses)

    def _found_out(self, intent: Intent) -> Done:
        """What became of an effect that nobody waited for."""
        if intent.job_id and list(self.follow(intent.job_id)):
            return Done(Fate.PLACED, *self._reported(intent))
        log = self.op_log()
        for effect in log.effects:
            if _is_same(effect, intent):
                return self._logged(effect, intent)
        if log.since_pulses <= intent.total_before:
            return Done.nowhere(Fate.NEVER, self._shape)
        return Done.nowhere(Fate.FORGOTTEN, self._shape, log.since_pulses - intent.total_before)

    def _reported(self, intent: Intent) -> Placed:
        if intent.request == m.StartScan.__name__:
            return super().scan_report(intent.job_id).pulses, None
        codes = super().program_report(intent.job_id)
        return codes.set_pulses + codes.reset_pulses, codes.set_pulses

    def _logged(self, effect: LoggedEffect, intent: Intent) -> Done:
        if effect.pulses == 0:
            return Done.nowhere(Fate.NEVER, self._shape)
        if effect.executed is Executed.YES and not intent.job_id:
            return Done(Fate.PLACED, *self._spread(intent))
        return Done.nowhere(Fate.UNPLACED, self._shape, effect.pulses)

    def _spread(self, intent: Intent) -> Placed:
        """The pulses of an effect that was carried out as a whole, by device."""
        request = _SPREAD[intent.request].unpack(intent.fields)
        counts = np.zeros(self._shape, np.int64)
        if isinstance(request, m.Pulse):
            rows = slice(request.row, request.row + request.row_count)
            counts[rows, request.col : request.col + request.col_count] = request.count
        elif isinstance(request, m.PulseMap):
            codes = bulk.unpack_pulse_map(intent.staged, counts.size)
            counts[...] = np.logical_and(*codes).reshape(self._shape)
        elif isinstance(request, m.Sweep):
            counts[request.row, request.col] = request.steps
        return counts, counts * (request.direction == m.SET)


class JournaledBoard(Journaling, NativeBoard):
    """The native board, journaled."""


class JournaledA0Board(Journaling, A0Board):
    """The A0 board, journaled; its count of pulses goes on where the journal left it.

    The board has no log: what it did not confirm stays uncertain, and counts as wear of its array.
    """

    def __init__(self, below: Any, journal: Journal, run: str = "") -> None:
        super().__init__(below, journal, run)
        known = [chip.total for chip in journal.chips() if chip.serial == self.welcome.serial]
        if known:
            self.count_from(known[-1])

    def _found_out(self, intent: Intent) -> Done:
        """Nobody can say; at most all of its pulses."""
        counts, _ = self._spread(intent)
        return Done.nowhere(Fate.FORGOTTEN, self._shape, int(counts.sum()))


_SPREAD = {request.__name__: request for request in (m.Pulse, m.PulseMap, m.Sweep)}
"""Effects whose request alone says which device gets how many pulses."""


def _is_same(effect: LoggedEffect, intent: Intent) -> bool:
    """Whether the board wrote down this very effect: by its job, or as the one that began at this count.

    Only one effect of a chip is under way at a time, and each later one that gave pulses began at a higher
    count.
    """
    if intent.job_id or effect.job_id:
        return effect.job_id == intent.job_id
    request = m.REQUEST_BY_OPCODE.get(effect.opcode)
    named = request is not None and request.__name__ == intent.request
    return named and effect.pulses_before == intent.total_before and effect.pulses > 0


@contextmanager
def connect(address: str, journal: Journal, run: str, profile: ChipProfile | None = None) -> Iterator[Chip]:
    """The chip at `address`, as `chipctl.chip.connect`, with every pulse in the journal.

    What earlier processes left open is found out first. Whatever ends the block, the outputs are zeroed, then
    the journal is told as much as the board still says; the rest stays open in it, for the next process.
    """
    if address.startswith(SCHEME):
        with JournaledA0Board(A0Place.of(address), journal, run).session() as a0_board:
            a0_board.settle()
            try:
                yield Chip(a0_board, profile)
            finally:
                a0_board.settle()
        return
    with Link(open_transport(address)) as link:
        board = JournaledBoard(link, journal, run)
        try:
            board.settle()
            yield Chip(board, profile)
        except BaseException as error:
            try:
                link.safe()
                board.settle()
            except ChipctlError as failure:
                error.add_note(f"the board could not be asked what it did: {failure}")
            raise
        link.safe()
