"""What the lab's public client sends, as data: message sequences and the arithmetic around them.

Everything here is a list of commands, or a `Link` that sends them with that client's time-outs: it opens
the port for each call, flushes what is there, reads single replies once for a second, and whole arrays in
blocks of 512 bytes that must not stall.
"""

import time
from dataclasses import dataclass

import numpy as np
import serial

from firmware_protocol import a0
from firmware_protocol import a0_words as w
from firmware_protocol.a0_words import Pin

BLOCK = 512
TIMEOUT_S = 1.0
OHMS = np.array([1e3, 5e3, 30e3, 200e3, 1e6])
TIA_WORDS = (0b1111100001, 0b1111100010, 0b1101000100, 0b1100001000, 0b1100010000)
AUTO = -1
ZERO_VOLTS, SPAN_VOLTS = 0.5, 3.5
HIGH_VOLTS = 4.0
WINDOWS = (4.0, 5.5, 5.0, 4.5, 3.5, 3.0, 2.5)
"""DAC_VREF_HI_CMP of the seven passes; each brings another half volt of inputs to 2.0-2.5 V."""

DEFAULTS = {
    **{1: 0.497, 2: 0.497, 4: 2.505, 0: 0.300, 5: 2.507, 6: 1.0},
    **{7: 1.0, 8: 3.9, 3: 4.0, 9: 1.0, 10: 2.5, 11: 2.5},
}
"""Reference voltages of a board that is on, in the order in which they are set."""
SPARE = (12, 13, 14, 15)


def low(text):
    return [a0.ClearPin(name[0], int(name[1:])) for name in text.split(",")]


def high(text):
    return [a0.SetPin(name[0], int(name[1:])) for name in text.split(",")]


def pulsed(pin):
    return [a0.SetPin(*pin), a0.ClearPin(*pin)]


def reference(channel, volts):
    """A reference set by name: 78 mV are taken off."""
    return a0.WriteDac(w.dac_word(w.Operation.WRITE_AND_UPDATE, channel, w.output_code(volts - 0.078)))


PADS = [
    *low("A15"),
    *[a0.SetLineData(0), *low("F12"), a0.SetLineBank(0)],
    *low("E7,H3,H6,H7,B9,G13,E2,A10,A14,F13,F4,G12,E0,B7,B11,D10,C1,C2,E8,B10,E1,E9,B15,G0"),
    a0.SetFifoEnable(0),
    *low("G7,D3,D1,C13,C3,C4"),
]
RST = [*low("D13"), *high("D13")]
ALL_ZERO = [reference(channel, 0.0) for channel in (*DEFAULTS, *SPARE)]

CONSTRUCT = [
    *[*low("E6"), *high("E6"), *RST, *high("D0"), *high("F2"), *low("D9"), *high("D9")],
    a0.WriteDac(w.dac_word(w.Operation.SPAN_ALL, 0, w.SPAN)),
    *[*ALL_ZERO, *PADS, a0.StopClock(2), a0.StopClock(0), *low("E6,D13,A9")],
    *[*low("E6,D13"), *PADS, *high("A9")],
    *[reference(channel, volts) for channel, volts in DEFAULTS.items()],
    *[a0.StartClock(2), a0.StartClock(0), *low("E6"), *high("E6"), *PADS],
    a0.LoadChain(2, w.Control().pack()),
    *RST,
]
POWER_OFF = [*ALL_ZERO, *PADS, a0.StopClock(0), a0.StopClock(2), *low("D13"), *low("E6"), *low("A9")]
SHIFTS = [reference(3, window) for window in (*WINDOWS[1:], HIGH_VOLTS)]
"""After each pass the window of the next one."""


def set_clock(megahertz):
    divider = 100 // megahertz
    return [
        *[a0.StopClock(2), a0.StopClock(0), a0.SetClock(2, 0, divider), a0.SetClock(0, 0, divider)],
        *[a0.StartClock(2), a0.StartClock(0)],
    ]


def configure(gain, volts=0.2, reference_volts=0.425):
    """What comes before every pass of a read: gain -1 lets the chip find it from the highest down."""
    index = 4 if gain == AUTO else gain
    words = w.pack_tia_words([TIA_WORDS[index]] * 96)
    control = w.Control(gain_search=w.GAIN_SEARCH_COUNT, sample=w.SAMPLE_COUNTS[index])
    return [
        *PADS,
        *[a0.LoadChain(2, control.pack()), a0.LoadChain(0, words), a0.LoadChain(1, words)],
        *pulsed(Pin("C", 13)),
        *[reference(0, reference_volts - volts), reference(2, reference_volts), reference(6, 5.0)],
        *[*PADS, *RST],
    ]


def set_columns(array, chosen):
    """COLS: no row, and these columns."""
    enables = [a0.ClearPin(*pin) for pin in w.ARRAY_ENABLES]
    masks = w.banks(np.flatnonzero(chosen), columns=True)
    rows = [m for bank in range(4) for m in (a0.SetLineBank(1 << bank), a0.SetLineData(0), *pulsed(w.LATCH))]
    cols = [
        m
        for bank, mask in enumerate(masks)
        for m in (a0.SetLineBank(1 << bank), a0.SetLineData(mask), *pulsed(w.LATCH))
    ]
    return [
        *[*PADS, *enables, a0.SetPin(*w.ARRAY_ENABLES[array])],
        *[*low("F12"), *rows, *high("F12"), *cols, *PADS, *RST],
    ]


def pulse_packets(array, setting, volts, gates):
    """64 packets of a batch timed by the chip; a device with either voltage 0 is skipped."""
    codes = np.zeros((128, 64), np.int64)
    for half, wanted in enumerate((volts, gates)):
        of_half = np.array([[w.output_code(v) if v else 0 for v in row] for row in wanted.tolist()])
        codes[64 * half : 64 * half + 64] = np.where((volts != 0) & (gates != 0), of_half, 0)
    return [a0.PulseRows(array, setting, row, w.pack_codes(codes[row : row + 2])) for row in range(0, 128, 2)]


def batch(array, setting, volts, gates, width_s, hertz):
    """set and reset: timed by the chip up to 253 periods, else by the firmware in whole microseconds.

    By the client's own arithmetic, which loses a period of some widths: 1 µs at 50 MHz becomes 980 ns.
    """
    p_reset = 1 + int(width_s * (hertz / 1e6) * 1e6)
    packets = pulse_packets(array, setting, volts, gates)
    if p_reset <= 1:
        return []
    if p_reset >= 255:
        packets = [
            a0.TimedPulseRows(array, setting, w.ZERO_CODE, round(width_s * 1e6), p.row, p.payload)
            for p in packets
        ]
        return [*PADS, reference(5, 0.0), *packets, reference(5, 0.0)]
    control = w.Control(0x80, 0x01, 0x0C, 0x10, 0x20, 0x01, p_reset)
    return [
        *[*PADS, a0.LoadChain(2, control.pack()), *PADS, reference(5, 0.0)],
        *[*packets, reference(5, 0.0)],
    ]


class LateError(Exception):
    """A reply that the client would not have waited for."""


@dataclass
class Direct:
    """A board in this process, without a line."""

    mcu: object
    messages: int = 0

    def call(self, commands):
        """Send commands in one go: the values of each reply."""
        self.messages += len(commands)
        self.mcu.receive(b"".join(command.encode() for command in commands))
        data = b""
        while self.mcu.work() == 0.0:
            data += self.mcu.transmit()
        data, replies = data + self.mcu.transmit(), []
        for reply in (command.reply for command in commands if command.reply.size):
            replies.append(reply.unpack(data[: reply.size]))
            data = data[reply.size :]
        assert not data
        return replies


@dataclass
class Link:
    """The client's port: opened for each call, closed after it."""

    url: str
    messages: int = 0

    def call(self, commands):
        """Send commands in order, as the client does: the values of each reply."""
        with serial.serial_for_url(self.url, baudrate=9600, timeout=TIMEOUT_S) as port:
            port.reset_input_buffer()
            return [values for c in commands if (values := self._ask(port, c)) is not None]

    def _ask(self, port, command):
        self.messages += 1
        port.write(command.encode())
        size = command.reply.size
        if not size:
            return None
        data = self._blocks(port, size) if size % BLOCK == 0 else port.read(size)
        if len(data) != size:
            raise LateError(f"{len(data)} of {size} bytes of {type(command).__name__} within {TIMEOUT_S} s")
        return command.reply.unpack(data)

    def _blocks(self, port, size):
        """Whole blocks; the first may take long, within one nothing may stall."""
        data, end = b"", time.monotonic() + 30.0
        while len(data) < size and time.monotonic() < end:
            block = port.read(BLOCK)
            if 0 < len(block) < BLOCK:
                raise LateError(f"a block stalled after {len(block)} bytes")
            data += block
        return data


def volts_of(words):
    return ZERO_VOLTS + SPAN_VOLTS * (np.asarray(words).astype(int) & w.CODE_MASK) / 1023


def gains_of(words):
    return np.asarray(words).astype(int) >> w.GAIN_SHIFT


def amps_of(passes):
    """Currents of seven passes of words: each from the window that shows its voltage at 2.0-2.5 V."""
    first = volts_of(passes[0])
    volts = first.copy()
    for words, window in zip(passes[1:], WINDOWS[1:], strict=True):
        shift = window - HIGH_VOLTS
        low_end = 2.0 - shift
        top = np.inf if low_end == 3.5 else low_end + 0.5
        chosen = (first >= low_end) & (first < top)
        volts[chosen] = (volts_of(words) - shift)[chosen]
    return (volts - ZERO_VOLTS) / OHMS[gains_of(passes[0])]


@dataclass(frozen=True)
class Ramps:
    """Start, stop and step of voltage and gate, V; as most used in the lab's notebooks."""

    set_volts: tuple = (1.0, 3.0, 0.25)
    set_gates: tuple = (0.5, 1.4, 0.05)
    reset_volts: tuple = (0.3, 1.5, 0.05)
    reset_gates: tuple = (5.0, 5.5, 0.5)
    width_s: float = 10e-6
    tolerance_in: float = 4e-6
    tolerance_out: float = 10e-6
    most_steps: int = 300
    most_retries: int = 5


class Ramp:
    """One direction of write-and-verify, cell by cell (rows, cols), by the client's rules."""

    def __init__(self, volts, gates, restart, ramps, mask):
        self.v, self.g, self.restart, self.ramps = volts, gates, restart, ramps
        self.members = mask.copy()
        self.volts, self.gates = np.full(mask.shape, volts[0]), np.full(mask.shape, gates[0])
        self.retries = np.zeros(mask.shape, int)

    def step(self, short):
        """Voltages and gates of the next batch; `short` (rows, cols) S is how far cells have to go."""
        tolerance = np.where(self.members, self.ramps.tolerance_in, self.ramps.tolerance_out)
        done = short <= tolerance
        self.volts[done], self.gates[done], self.retries[done] = self.v[0], self.g[0], 0
        self.members = ~done
        active = self.members & (self.retries <= self.ramps.most_retries)
        given = np.where(active, self.volts, 0.0), np.where(active, self.gates, 0.0)
        self.advance(active)
        return given

    def advance(self, active):
        self.volts = np.where(active, self.volts + self.v[2], self.volts)
        past = active & (self.volts > self.v[1] + 1e-9)
        last = past & (self.gates + self.g[2] > self.g[1] + 1e-9)
        self.gates = np.where(past & ~last, self.gates + self.g[2], self.gates)
        self.volts = np.where(past, np.where(last, self.v[1], self.restart), self.volts)
        self.retries += last

    @property
    def open(self):
        return int((self.members & (self.retries <= self.ramps.most_retries)).sum())


class Client:
    """The client's calls, each a sequence of the above; conductances in S."""

    def __init__(self, link, array=0):
        self.link, self.array, self.hertz = link, array, 5e6
        self.link.call(CONSTRUCT)

    def set_clock(self, megahertz):
        self.link.call(set_clock(megahertz))
        self.hertz = megahertz * 1e6

    def read_slow(self, gain=AUTO, volts=0.2, delay_us=500):
        ask = a0.ReadCells(self.array, int(gain == AUTO), delay_us)
        setup = configure(gain, volts)
        replies = self.link.call([m for shift in SHIFTS for m in (*setup, ask, shift)])
        return amps_of([words for words in replies if words.ndim == 2]) / volts

    def read_fast(self, gain=AUTO, volts=0.2, delay_us=0):
        return self._products(np.eye(64), np.ones(64), gain, volts, delay_us) / volts

    def _products(self, bits, columns, gain=AUTO, volts=0.2, delay_us=0):
        """Currents (vectors, columns)."""
        mode = 3 if gain == AUTO else 1
        chunks = [bits[at : at + a0.MAX_VECTORS] for at in range(0, len(bits), a0.MAX_VECTORS)]
        asks = [a0.Multiply(self.array, mode, delay_us, w.pack_vectors(chunk)) for chunk in chunks]
        setup = [*configure(gain, volts), *set_columns(self.array, columns)]
        replies = self.link.call([m for shift in SHIFTS for m in (*setup, *asks, shift)])
        words = [words for words in replies if words.ndim == 2]
        sizes = [len(chunk) for chunk in chunks] * len(SHIFTS)
        rows = np.concatenate([each[:size] for each, size in zip(words, sizes, strict=True)])
        return amps_of(rows.reshape(len(SHIFTS), len(bits), 64))

    def read_single(self, row, col, gain=AUTO, volts=0.2):
        ask = a0.ReadCell(self.array, row, col, int(gain == AUTO))
        setup = configure(gain, volts)
        word = self.link.call([*setup, ask])[-1]
        shift = 2.25 - volts_of(word)
        again = self.link.call([reference(3, HIGH_VOLTS + float(shift)), *setup, ask])[-1]
        self.link.call([reference(3, HIGH_VOLTS)])
        return (volts_of(again) - shift - ZERO_VOLTS) / OHMS[gains_of(word)] / volts

    def set(self, volts, gates, width_s=20e-9):
        return self.link.call(batch(self.array, 1, volts, gates, width_s, self.hertz))

    def reset(self, volts, gates, width_s=20e-9):
        return self.link.call(batch(self.array, 0, volts, gates, width_s, self.hertz))

    def tune(self, target, mask, ramps=None):
        """Write-and-verify where `mask`: the last reading, and the steps it took."""
        ramps = ramps or Ramps()
        up = Ramp(ramps.set_volts, ramps.set_gates, ramps.set_volts[0], ramps, mask)
        down = Ramp(ramps.reset_volts, ramps.reset_gates, ramps.set_volts[0], ramps, mask)
        steps = 0
        while steps < ramps.most_steps and (not steps or up.open + down.open):
            steps += 1
            short = np.where(mask, target - self.read_fast(), 0.0)
            for ramp, sign, give in ((up, 1, self.set), (down, -1, self.reset)):
                volts, gates = ramp.step(sign * short)
                if volts.any():
                    give(volts, gates, ramps.width_s)
        return self.read_fast(), steps

    def multiply(self, inputs, columns=None, bits=8, unary=False, gain=2):
        """Inputs (vectors, 64) of 0 to 1 by the conductances: shift-and-add, or unary."""
        chosen = np.ones(64) if columns is None else columns
        if unary:
            planes, weights = np.arange(bits), np.full(bits, 1 / bits)
            whole = np.round(inputs * bits)[None] > planes[:, None, None] + 0.5
        else:
            weights = 2.0 ** np.arange(bits) / (2**bits - 1)
            q = np.round(inputs * (2**bits - 1)).astype(int)
            whole = q[None] >> np.arange(bits)[:, None, None] & 1
        amps = [self._products(plane, chosen, gain) for plane in whole]
        return np.tensordot(weights, amps, 1) / 0.2

    def power_off(self):
        self.link.call(POWER_OFF)
