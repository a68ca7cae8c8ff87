"""Pins, references, clocks and scan chains of an A0 board: as the host knows them, and what is at rest.

The board keeps its state when a host goes and comes; this host believes none of it. Each connection begins
with outputs at 0 V, then powers the chip in the safe order; what it set since then it knows, and does not
send again.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from chipctl import a0_facts as facts
from chipctl.a0_line import BUSY_S, A0Line
from chipctl.errors import LinkError
from firmware_protocol import a0
from firmware_protocol import a0_words as w
from firmware_protocol.a0_wire import Command
from firmware_protocol.a0_words import Control, Operation, Pin
from firmware_protocol.rails import PULSE_RAILS, Rail

READ_SWITCHES: Final = (w.CONNECT_COLUMN, w.CONNECT_TIA, w.READ_BIT)
"""What a read leaves on, in the order in which it is switched off, then one of those below; and the array's
FORCE_SAFE_NOT. Rows that are not read float: READ_DPE stays low."""

_FIXED, _AUTOMATIC = w.DPE_INTERNAL, w.AGC_INTERNAL

PULSE_SWITCHES: Final = (
    w.CONNECT_COLUMN,
    w.COLUMN_WRITE_CONNECT,
    w.ROW_WRITE_CONNECT,
    w.WRITE_FORWARD,
    w.WRITE_INTERNAL,
)
"""Likewise of a pulse."""

_SWITCHES: Final = (
    *PULSE_SWITCHES,
    *READ_SWITCHES[1:],
    w.READ_DPE,
    _FIXED,
    _AUTOMATIC,
    *w.FORCE_SAFE_NOTS,
    w.WRITE_PULSE,
    w.DPE_PULSE,
    w.AGC_PULSE,
)

_OTHERS: Final = (
    w.LATCH,
    w.COLUMN_REGISTER,
    *w.ARRAY_ENABLES,
    w.WRITE_EXTERNAL,
    w.WRITE_ADD_CAP,
    w.DPE_EXTERNAL,
    w.DPE_EXTERNAL_PULSE,
    w.DPE_EXTERNAL_HOLD,
    w.FIFO_ADVANCE,
    w.ADC_EXTERNAL,
    *w.SCAN_PINS,
    w.UPDATE_TIA,
    *w.CHAIN_SELECTS,
)
_CLOCKS: Final = (w.ADC_CLOCK, w.ARRAY_CLOCK)


def low(pins: Iterable[Pin]) -> list[Command]:
    """Commands that drive pins low."""
    return [a0.ClearPin(*pin) for pin in pins]


def dac(rail: Rail, code: int) -> Command:
    """The command that puts a code of true volts on a rail."""
    return a0.WriteDac(w.dac_word(Operation.WRITE_AND_UPDATE, rail, facts.sent_code(code)))


QUIET: Final = tuple(dac(rail, facts.true_code(0.0)) for rail in PULSE_RAILS)
"""Pulse and gate rail to 0 V, in this order."""


class A0Power:
    """The chip's supplies, references, clocks and scan chains."""

    def __init__(self, line: A0Line, busy_s: float = BUSY_S) -> None:
        self._line, self._busy_s = line, busy_s
        self._forget()

    def check(self) -> None:
        """See that the board is as this connection has set it: after a reset its power pin is low.

        Clocks and DAC cannot be asked for. Without clocks a read hangs, and with the DAC's first span a pulse
        would have another voltage.

        Raises:
            LinkError: The board was reset; `start` sets it up again.
        """
        levels = int(self._line.ask(a0.ReadPort(w.POWER_GOOD.port)))
        if not self._is_on or not levels >> w.POWER_GOOD.number & 1:
            self._forget()
            raise LinkError(f"{self._line.name}: the A0 board was reset and is without power; connect again")

    def _forget(self) -> None:
        self.codes = dict.fromkeys(Rail, facts.true_code(0.0))
        """Codes of true volts that the rails were set to."""
        self._control: Control | None = None
        self._tia_gain: int | None = None
        self._columns: tuple[int, int, int] | None = None
        self._is_on = False
        self._on: dict[Pin, None] = {}
        """Switches that may be on, in the order in which they go off."""

    def start(self) -> None:
        """Zero the outputs before anything else, see that a board is there, and power the chip.

        Raises:
            LinkTimeout: No A0 board answers.
        """
        self._forget()
        self._line.tell(
            [
                *low([w.DAC_CLEAR_NOT]),
                *QUIET,
                a0.SetPin(*w.DAC_CLEAR_NOT),
                a0.WriteDac(w.dac_word(Operation.SPAN_ALL, 0, w.SPAN)),
                *QUIET,
                *low([*_SWITCHES, *_OTHERS]),
            ]
        )
        self._line.get_in_step(self._busy_s)
        self._line.tell([dac(rail, facts.true_code(0.0)) for rail in Rail])
        self._power_up()

    def _power_up(self) -> None:
        tell = self._line.tell
        tell([*low([w.CHIP_RESET_NOT, w.DPE_RESET_NOT]), a0.SetLineData(0), a0.SetLineBank(0)])
        tell([a0.SetPin(*pin) for pin in (w.POWER_GOOD, w.DAC_LOAD, w.DAC_TOGGLE)])
        for rail, volts in facts.REFERENCE_VOLTS.items():
            self.put(rail, facts.true_code(volts))
        tell([a0.StopClock(clock) for clock in _CLOCKS])
        tell([a0.SetClock(clock, 0, facts.CLOCK_DIVIDER) for clock in _CLOCKS])
        tell([a0.StartClock(clock) for clock in _CLOCKS])
        tell([a0.SetPin(*w.CHIP_RESET_NOT)])
        self.control(Control())
        self.reset_engine()
        self._is_on = True

    def put(self, rail: Rail, code: int) -> None:
        """Put a code of true volts on a rail, if it is not there."""
        if self.codes[rail] != code:
            self._line.tell([dac(rail, code)])
            self.codes[rail] = code

    def quiet(self) -> None:
        """Pulse and gate rail to 0 V."""
        self._line.tell(QUIET)
        self.codes.update(dict.fromkeys(PULSE_RAILS, facts.true_code(0.0)))

    def will_connect(self, array: int, switches: tuple[Pin, ...]) -> None:
        """Take note of what the next commands leave on."""
        self._on |= dict.fromkeys((*switches, w.FORCE_SAFE_NOTS[array]))

    def disconnect(self) -> None:
        """Switch off what a read or a pulse may have left on."""
        self._line.tell(low(self._on))
        self._on = {}

    def reset_engine(self) -> None:
        """Clear counters and FIFOs of the chip."""
        self._line.tell([a0.ClearPin(*w.DPE_RESET_NOT), a0.SetPin(*w.DPE_RESET_NOT)])

    def control(self, control: Control) -> None:
        """Load the control chain, if it is not so."""
        if self._control != control:
            self._control = None
            self._line.ask(a0.LoadChain(w.CONTROL_CHAIN, control.pack()))
            self._control = control

    def tias(self, gain: int) -> None:
        """Set all TIAs to a gain index, if they are not."""
        if self._tia_gain == gain:
            return
        self._tia_gain = None
        words = w.pack_tia_words([facts.TIA_WORDS[gain]] * w.WORDS_PER_CHAIN)
        for chain in w.TIA_CHAINS:
            self._line.ask(a0.LoadChain(chain, words))
        self._line.tell([a0.SetPin(*w.UPDATE_TIA), a0.ClearPin(*w.UPDATE_TIA)])
        self._tia_gain = gain

    def ready_to_read(self, array: int, gain: int, sample_count: int, *, automatic: bool) -> None:
        """References, TIAs and counts for reads at a gain, on a board that is as it was set up."""
        self.check()
        self.disconnect()
        self.will_connect(array, (*READ_SWITCHES, _AUTOMATIC if automatic else _FIXED))
        self.put(Rail.TVDD, facts.true_code(facts.GATE_READ_VOLTS))
        for rail in (Rail.VREF_TIA, Rail.PLANE_VPP, Rail.VREF_HI_CMP):
            self.put(rail, facts.true_code(facts.REFERENCE_VOLTS[rail]))
        search = w.GAIN_SEARCH_COUNT if automatic else Control().gain_search
        self.control(replace(Control(), gain_search=search, sample=sample_count))
        self.tias(gain)

    def select_columns(self, array: int, col: int, count: int) -> None:
        """Connect some columns of one array, and none of its rows, for products."""
        if self._columns == (array, col, count):
            return
        self._columns = None
        commands: list[Command] = [a0.SetPin(*w.ARRAY_ENABLES[array])]
        for columns, lines in ((False, range(0)), (True, range(col, col + count))):
            commands.append((a0.SetPin if columns else a0.ClearPin)(*w.COLUMN_REGISTER))
            for bank, bits in enumerate(w.banks(lines, columns=columns)):
                commands += [a0.SetLineBank(1 << bank), a0.SetLineData(bits)]
                commands += [a0.SetPin(*w.LATCH), a0.ClearPin(*w.LATCH)]
        self._line.tell([*commands, *low([w.COLUMN_REGISTER, w.ARRAY_ENABLES[array]])])
        self._columns = array, col, count

    def forget_columns(self) -> None:
        """Other commands have used the registers."""
        self._columns = None

    def rest(self) -> None:
        """Outputs that move a device to 0 V, all switches off; clocks stay, for without them reads hang.

        Raises:
            LinkError: The board does not confirm it.
        """
        self.quiet()
        self._line.tell(low(_SWITCHES))
        self._on = {}
        self._line.ask(a0.Count())
