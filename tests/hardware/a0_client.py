"""Runs the lab's own client for the A0 board, as it is, against a port: CHECKOUT PORT RESULTS.npz PART...

Nothing of that client is here; the user's checkout is put on the path and called as its notebooks do.
After each call a line of JSON on standard output says which it was and what the client printed meanwhile;
the next call waits for a line on standard input.

A notebook's display is all the client wants of IPython, so where that is missing a stand-in serves. It
opens ports by `serial.Serial` alone, so for a URL pySerial's own class for sockets takes that name.
"""

import contextlib
import importlib.util
import io
import json
import sys
import types

import numpy as np
import serial

ARRAY, MHZ = 0, 50
CELL = 40, 9
CHOSEN = slice(3, 9), slice(5, 12)
BLOCK = slice(20, 28), slice(20, 28)
CORNER = slice(0, 44), slice(0, 44)
STEPS, CORNER_STEPS = 6, 110
RAMPS = {
    "vSetRamp": [1, 3, 0.25],
    "vGateSetRamp": [0.5, 1.4, 0.05],
    "vResetRamp": [0.3, 1.5, 0.05],
    "vGateResetRamp": [5.0, 5.5, 0.5],
}
"""Most used in the lab's notebooks."""


def mask_of(place):
    """1 at the devices of a place (rows, columns), 0 elsewhere (64, 64)."""
    mask = np.zeros((64, 64))
    mask[place] = 1
    return mask


def weight_targets():
    """Weights of normal distribution as pairs of cells up to 100 µS (64, 64)."""
    weights = np.clip(np.random.default_rng(1).normal(0, 0.35, (64, 32)), -1, 1)
    target = np.zeros((64, 64))
    target[:, 0::2], target[:, 1::2] = np.maximum(weights, 0) * 1e-4, np.maximum(-weights, 0) * 1e-4
    return target


def product_inputs():
    """Inputs (64, vectors) of products."""
    return np.random.default_rng(1).uniform(0, 1, (64, 6))


class Session:
    """A client of the user's on a port, its calls reported one by one, and what they returned."""

    def __init__(self, checkout, port):
        sys.path.insert(0, checkout)
        if importlib.util.find_spec("IPython") is None:
            display = types.ModuleType("IPython.display")
            display.clear_output = lambda wait=False: None
            sys.modules["IPython"] = types.ModuleType("IPython")
            sys.modules["IPython"].display = sys.modules["IPython.display"] = display
        if "://" in port:
            serial.Serial = serial.serial_for_url(port, do_not_open=True).__class__
        from dpe import DPE  # the user's checkout

        self.found, self.port = {}, port
        self.board = self.call("construct", DPE, port)
        self.a0, self.dut = self.board.a0, self.board.a0.dut

    def call(self, name, function, *arguments, **options):
        """Call the client, keep under `name` what it returned, and report."""
        with contextlib.redirect_stdout(io.StringIO()) as said:
            value = function(*arguments, **options)
        if isinstance(value, (np.ndarray, float, list)):
            self.found[name] = np.asarray(value)
        sys.stdout.write(json.dumps({"name": name, "said": said.getvalue()}) + "\n")
        sys.stdout.flush()
        sys.stdin.readline()
        return value

    def call_inside(self, name, function, *arguments, **options):
        """Call a function below the client's own object, with the port open as that does it."""

        def opened():
            with serial.Serial(self.port, 9600, timeout=1) as line:
                self.dut.connect(line)
                return function(*arguments, **options)

        return self.call(name, opened)


def everyday(session):
    """Reads, masked pulses in both timings, products."""
    board, call = session.board, session.call
    call("slow", board.read, ARRAY, method="slow", Tdly=500)
    call("fast", board.read, ARRAY, method="fast")
    call("single", board.read, ARRAY, method="single", Msel=mask_of(CELL))
    chosen = mask_of(CHOSEN)
    call("set by chip", board.set, ARRAY, 2.5, 1.2, mask=chosen, Twidth=1e-6)
    call("after set by chip", board.read, ARRAY, method="fast")
    call("reset by firmware", board.reset, ARRAY, 1.8, 5.0, mask=chosen, Twidth=10e-6)
    call("after reset by firmware", board.read, ARRAY, method="fast")
    call("set by firmware", board.set, ARRAY, 2.5, 1.2, mask=chosen, Twidth=10e-6)
    call("after set by firmware", board.read, ARRAY, method="fast")
    call("reset by chip", board.reset, ARRAY, 1.8, 5.0, mask=chosen, Twidth=1e-6)
    call("after reset by chip", board.read, ARRAY, method="fast")
    options = {"c_sel": [0, 64], "gain": 2, "Tdly": 0}
    call("shifted", board.multiply, ARRAY, product_inputs(), mode=0, **options)
    call("unary", board.multiply, ARRAY, product_inputs(), mode=1, **options)


def block(session):
    """A block tuned by slow reads and pulses of the chip's own timer, with its history plotted."""
    board, plotted = session.board, []
    kept = session.call(
        "tune block",
        board.tune_conductance,
        ARRAY,
        np.full((64, 64), 50e-6),
        Msel=mask_of(BLOCK),
        method="slow",
        Twidth=1e-6,
        maxSteps=STEPS,
        saveHistory=True,
        plot_callback=lambda history: plotted.append(len(history["Ghist"])),
        **RAMPS,
    )
    session.found["plotted"], session.found["history"] = plotted, np.array(kept["hist_data"]["Ghist"])
    session.call("averaged", board.read, ARRAY, method="fast", numReads=3)
    session.call("delayed", board.multiply_w_delay, ARRAY, product_inputs(), c_sel=[0, 64], gain=2, delay=0)


def corner(session):
    """Pairs of weights tuned by pulses of 10 µs, in 4 and out 10 µS."""
    session.call(
        "tune corner",
        session.board.tune_conductance,
        ARRAY,
        weight_targets(),
        Msel=mask_of(CORNER),
        method="fast",
        Twidth=10e-6,
        maxSteps=CORNER_STEPS,
        Gtol_in=4e-6,
        Gtol_out=10e-6,
        **RAMPS,
    )
    session.call("corner", session.board.read, ARRAY, method="fast")


def pins(session):
    """What lies below the client's object: single devices, by firmware and pin by pin, and the ADCs."""
    call, a0, (row, col) = session.call_inside, session.a0, CELL
    cell, last = {"array": ARRAY, "row": row, "col": col}, {"gain": 2, "Vref": 0.425}
    call("set pinned", a0.set_single_int, 2.5, 1.0, **cell)
    session.call("pinned slow", session.board.read, ARRAY, method="slow", gain=2, Tdly=0)
    call("fixed gain", a0.read_single_int, 0.2, 5, **cell, **last)
    call("found gain", a0.read_single_int, 0.2, 5, **cell, gain=-1, Vref=0.425)
    call("grounded rows", a0.read_dpe_single_int, 0.2, 5, **cell, **last)
    call("one column", a0.read_dpe_col_int, 0.2, 5, [row], array=ARRAY, col=col, **last)
    words = [1 << row % 16 if 48 - 16 * place <= row < 64 - 16 * place else 0 for place in range(4)]
    call("whole row", a0.read_dpe_int, 0.2, 5, words, array=ARRAY, **last)
    call("external", a0.read_single, 0.2, 5, **cell, gain=2)
    call("external, grounded", a0.read_dpe_single, 0.2, 5, **cell, gain=2)
    call("by firmware", a0.pic_read_single, ARRAY, row, col, gain=2)
    call("refired", a0.pic_read_single_test, ARRAY, row, col, gain=2, skip_conf=True)
    call("reset pinned", a0.reset_single_int, 1.8, 5.0, **cell)
    call("set by hand", a0.set_single, 2.5, 1.0, **cell)
    call("gate of a read", a0.pic_read_single, ARRAY, row, col, gain=2)
    call("reset by hand", a0.reset_single, 1.8, 5.0, **cell)
    call("set single", a0.pic_write_single, 2.5, 1.0, ARRAY, row, col, 1)
    call("reset single", a0.pic_write_single_ext, 1.8, 5.0, ARRAY, row, col, 0, 10)
    ramps = np.arange(1, 3.1, 0.25), np.arange(0.6, 2.2, 0.1), np.arange(0.5, 1.4, 0.05), [5.0, 5.5]
    sets, set_gates, resets, gates = ramps
    call("programmed", a0.cell_program, ARRAY, row, col, 50e-6, 8e-6, sets, resets, set_gates, gates, 20)
    call("adc", session.dut.calibrate_adc, [1.0, 2.0, 2.25, 2.5, 3.0], 4)
    call("monitors", session.dut.drv.pic_adc_read)


PARTS = {part.__name__: part for part in (everyday, block, corner, pins)}


def run(checkout, port, results, *parts):
    """Construct, set the clock, the parts named, and power off; what the calls returned goes to a file."""
    session = Session(checkout, port)
    session.call("set_clock", session.board.set_clock, MHZ)
    for name in parts:
        PARTS[name](session)
    session.call("power_off", session.board.power_off)
    np.savez(results, **session.found)


if __name__ == "__main__":
    run(*sys.argv[1:])
