"""Lines to a virtual A0 board in this process that keep what was sent, and lose of it what a test says."""

import time

import numpy as np

from chipctl.a0_board import A0Board, A0Place
from firmware_protocol.a0_frame import Decoder
from sim_chip.a0_mcu import A0Mcu
from sim_chip.chip import VirtualChip
from sim_chip.presets import preset


class Tapped:
    """A line to a virtual A0 board that keeps what was sent, and may lose what comes."""

    name = "a0 in this process"

    def __init__(self, mcu):
        self.mcu, self.sent, self.loses = mcu, [], lambda command: False
        self._decoder = Decoder()

    def __call__(self):
        return self

    def write(self, data):
        self.sent += self._decoder.feed(data)
        self.mcu.receive(data)
        while self.mcu.work() == 0.0:
            pass

    def read(self, timeout_s):
        data = self.mcu.transmit()
        if data and any(self.loses(command) for command in self.sent[-3:]):
            return b""
        if not data:
            time.sleep(min(timeout_s, 0.01))
        return data

    def close(self):
        pass


class Lossy(Tapped):
    """Loses those packets of batches of which `loses_packet(row)` says so."""

    def __init__(self, mcu):
        super().__init__(mcu)
        self.loses_packet = lambda row: False

    def write(self, data):
        if data.startswith(b"405,") and self.loses_packet(int(data.split(b",")[3])):
            return
        super().write(data)


def board_of(kind="ideal", seed=0, conductance=None, faults=(), line=Tapped):
    """A line to a board, and the chip below it as `.truth`."""
    start = None if conductance is None else np.broadcast_to(conductance, (3, 64, 64))
    truth = VirtualChip(preset(kind), seed, conductance=start)
    made = line(A0Mcu(truth, faults=frozenset(faults)))
    made.truth = truth
    return made


def driver(line, options="windows=off", patience_s=0.2):
    return A0Board(A0Place.of(f"a0+/dev/none#{options}"), line, patience_s)
