"""The lab's own client for the A0 board, unmodified, cannot tell the virtual board from the real one.

That client has no open licence and is no part of this repository: name a checkout of it that you have, and
see that the Python that runs the tests has what it imports (bitstring below 5, for example):

    CHIPCTL_A0_CLIENT=~/A0_DUT pytest tests/hardware/test_a0_client.py

The board is served from this process, so what it heard and what its devices really are is at hand.
"""

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from firmware_protocol.a0_frame import Decoder
from sim_chip.a0_mcu import A0Mcu
from sim_chip.board import Board, Setup
from sim_chip.chip import VirtualChip
from sim_chip.presets import preset
from sim_chip.server import serve_pty, serve_tcp

CHECKOUT = "CHIPCTL_A0_CLIENT"
MINUTES = 5
SEED = 3
QUIET_S = 0.1


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


HERE = Path(__file__).parent
client = _module(HERE / "a0_client.py")
s = _module(HERE.parent / "sim_chip" / "a0_sequences.py")

pytestmark = pytest.mark.timeout(60 * (MINUTES + 1))


@dataclass
class Run:
    """What the client found, said and sent, call by call, and what the devices were after each."""

    board: Board
    found: dict = field(default_factory=dict)
    said: dict = field(default_factory=dict)
    commands: dict = field(default_factory=dict)
    conductance: dict = field(default_factory=dict)
    pulses: dict = field(default_factory=dict)

    def take(self, name, said, heard):
        """Note a call that is over."""
        decoder, chip = Decoder(), self.board.mcu.chip
        self.said[name], self.commands[name] = said, decoder.feed(bytes(heard))
        self.conductance[name], self.pulses[name] = chip.conductance(0), chip.pulse_counts(0)
        assert decoder.bad_messages == 0

    def count(self, name):
        return len(self.commands[name])

    def pulsed(self, name):
        """Pulses of each device (64, 64) in a call."""
        before = list(self.pulses)[list(self.pulses).index(name) - 1]
        return self.pulses[name].astype(int) - self.pulses[before]


@contextlib.contextmanager
def _served(board, serve, at):
    """The board on a line of its own thread; yields where."""
    reader, writer = socket.socketpair()
    ready, places = threading.Event(), []

    def begin(place):
        places.append(place)
        ready.set()

    thread = threading.Thread(target=serve, args=(board, at, reader, begin))
    with reader, writer:
        thread.start()
        try:
            assert ready.wait(10.0)
            yield places[0]
        finally:
            writer.send(b"\x0f")
            thread.join()


def _run(checkout, line, *parts, folder):
    """The client's calls on a board of its own: it ran to its end, and nobody complained."""
    board, heard = Board(Setup(seed=SEED, board="a0")), bytearray()
    run, receive = Run(board), board.mcu.receive

    def listen(data):
        heard.extend(data)
        receive(data)

    board.mcu.receive = listen
    serve, at = {"pty": (serve_pty, folder / "chip"), "tcp": (serve_tcp, ("localhost", 0))}[line]
    with _served(board, serve, at) as place:
        port, results = f"socket://{place}" if line == "tcp" else place, folder / "results.npz"
        command = [sys.executable, str(HERE / "a0_client.py"), str(checkout), port, str(results), *parts]
        with subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as ran:
            for report in ran.stdout:
                _wait_until_quiet(heard)
                run.take(**json.loads(report), heard=heard)
                heard.clear()
                ran.stdin.write("\n")
                ran.stdin.flush()
    assert ran.returncode == 0
    assert not any("[ERROR]" in said for said in run.said.values())
    assert (board.mcu.wired.complaints, board.mcu.failures) == (0, 0), board.mcu.wired.last_complaint
    assert board.mcu.wired.unsafe_pulses == 0
    run.found = dict(np.load(results))
    return run


def _wait_until_quiet(heard):
    """What the client wrote last has no reply; it has arrived once nothing more does."""
    size = -1
    while len(heard) != size:
        size = len(heard)
        time.sleep(QUIET_S)


@pytest.fixture(scope="module")
def checkout():
    named = os.environ.get(CHECKOUT)
    if not named:
        pytest.skip(f"{CHECKOUT} does not name a checkout of the A0 board's public client")
    path = Path(named).expanduser().resolve()
    if not (path / "dpe.py").is_file():
        pytest.fail(f"{CHECKOUT} is {path}, where there is no dpe.py")
    if importlib.util.find_spec("bitstring") is None:
        pytest.fail("the client imports bitstring: pip install 'bitstring<5', whose words 5 no longer takes")
    return path


@pytest.fixture(scope="module", params=["pty", "tcp"])
def run(request, checkout, tmp_path_factory):
    """Everyday calls and the tuning of a block, over either line."""
    return _run(checkout, request.param, "everyday", "block", folder=tmp_path_factory.mktemp("a0"))


@pytest.fixture(scope="module")
def corner(checkout, tmp_path_factory):
    return _run(checkout, "pty", "corner", folder=tmp_path_factory.mktemp("a0"))


@pytest.fixture(scope="module")
def pins(checkout, tmp_path_factory):
    return _run(checkout, "pty", "pins", folder=tmp_path_factory.mktemp("a0"))


def test_counts_of_messages_are_the_documented_ones(run):
    single, product = 164, 8 * 7 * 192
    wanted = {
        **{"construct": 157, "set_clock": 6, "slow": 574, "fast": 1351, "single": single, "power_off": 56},
        **{"set by chip": 137, "reset by chip": 137, "set by firmware": 101, "reset by firmware": 101},
        **{"shifted": product, "unary": product, "averaged": 3 * 1351},
        "tune block": client.STEPS * (574 + 2 * 137),
    }
    assert {name: run.count(name) for name in wanted} == wanted


class Recorded(s.Direct):
    """A board in this process, and what was sent to it."""

    def __init__(self, mcu):
        super().__init__(mcu)
        self.sent = []

    def call(self, commands):
        self.sent += commands
        return super().call(commands)


def test_the_sequences_of_the_default_tests_are_the_clients_own_message_by_message(run):
    """The same calls by `a0_sequences` on a chip of the same seed: what is sent and what is read is equal."""
    link = Recorded(A0Mcu(VirtualChip(preset("good"), SEED)))
    data = s.Client(link)
    chosen, inputs = client.mask_of(client.CHOSEN), client.product_inputs().T
    up, down = (2.5 * chosen, 1.2 * chosen), (1.8 * chosen, 5.0 * chosen)

    def same(name, call, *arguments, **options):
        value = call(*arguments, **options)
        assert link.sent == run.commands[name], name
        link.sent.clear()
        return value

    def read(name):
        assert same(name, data.read_fast, delay_us=1000) == pytest.approx(run.found[name], abs=1e-12)

    same("construct", lambda: None)
    same("set_clock", data.set_clock, client.MHZ)
    assert same("slow", data.read_slow) == pytest.approx(run.found["slow"], abs=1e-12)
    read("fast")
    assert same("single", data.read_single, *client.CELL) == pytest.approx(run.found["single"][client.CELL])
    same("set by chip", data.set, *up, 1e-6)
    read("after set by chip")
    same("reset by firmware", data.reset, *down, 10e-6)
    read("after reset by firmware")
    same("set by firmware", data.set, *up, 10e-6)
    read("after set by firmware")
    same("reset by chip", data.reset, *down, 1e-6)
    read("after reset by chip")
    for name, unary in (("shifted", False), ("unary", True)):
        found = same(name, data.multiply, inputs, unary=unary)
        assert found == pytest.approx(run.found[name], abs=1e-12)
    data.power_off()
    assert link.sent == run.commands["power_off"]


def test_slow_fast_and_single_reads_agree(run):
    slow, fast = run.found["slow"], run.found["fast"]
    assert np.median(np.abs(slow - fast)) < 0.3e-6
    assert (np.abs(slow - fast) < 1e-6 + 0.1 * slow).mean() > 0.99
    assert run.found["single"][client.CELL] == pytest.approx(slow[client.CELL], abs=2e-6, rel=0.2)
    assert np.count_nonzero(run.found["single"]) == 1
    assert np.median(np.abs(slow - run.conductance["slow"])) < 0.5e-6


@pytest.mark.parametrize(
    ("name", "before", "sign"),
    [
        ("set by chip", "fast", 1),
        ("reset by firmware", "after set by chip", -1),
        ("set by firmware", "after reset by firmware", 1),
        ("reset by chip", "after set by firmware", -1),
    ],
)
def test_selected_cells_move_and_others_do_not(run, name, before, sign):
    chosen = client.mask_of(client.CHOSEN) > 0
    assert np.array_equal(run.pulsed(name), chosen)
    moved = run.found[f"after {name}"] - run.found[before]
    assert sign * np.median(moved[chosen]) > 30e-6
    assert abs(np.median(moved[~chosen])) < 0.5e-6
    assert np.percentile(np.abs(moved[~chosen]), 99) < 5e-6


def test_products_have_slopes_near_one(run):
    inputs, conductance = client.product_inputs(), run.found["after reset by chip"]
    for name, top in (("shifted", 255), ("unary", 8)):
        ideal = ((np.round(inputs * top) / top).T @ conductance).ravel()
        slope = np.polyfit(ideal, run.found[name].ravel(), 1)[0]
        assert slope == pytest.approx(1.0, abs=0.05), name


def test_a_block_is_tuned_by_slow_reads_and_each_step_is_in_the_history(run):
    block = client.mask_of(client.BLOCK) > 0
    assert run.found["plotted"].tolist() == list(range(1, client.STEPS + 1))
    history = run.found["history"]
    assert history.shape == (client.STEPS, 64, 64)
    assert np.median(np.abs(history[0] - run.conductance["power_off"])[~block]) < 1e-6
    pulsed = run.pulsed("tune block")
    assert pulsed[block].max() <= client.STEPS
    assert not pulsed[~block].any()
    assert np.abs(run.found["averaged"] - history[-1])[~block].mean() < 1e-6


def test_products_one_by_one_are_those_of_a_batch(run):
    inputs = np.round(client.product_inputs() * 255) / 255
    ideal = (inputs.T @ run.found["averaged"]).ravel()
    assert np.polyfit(ideal, run.found["delayed"].ravel(), 1)[0] == pytest.approx(1.0, abs=0.05)


def test_a_corner_is_tuned_as_well_as_on_the_bench(corner):
    """In 4 µS, out 10 µS: the real board shows 80-89 % within 4 µS and 98.2-99.5 % within 10."""
    inside = client.mask_of(client.CORNER) > 0
    error = np.abs(corner.found["corner"] - client.weight_targets())[inside]
    assert 0.80 <= (error <= 4e-6).mean() <= 0.89
    assert 0.97 <= (error <= 10e-6).mean() <= 0.996
    assert corner.count("tune corner") == client.CORNER_STEPS * (1351 + 2 * 101)
    assert not corner.pulsed("tune corner")[~inside].any()


def test_one_device_reads_the_same_by_every_way_there_is(pins):
    """Routines with their reference at 0.5 V read 75 mV more; two subtract it from what they do not set."""
    siemens = pins.found["pinned slow"][client.CELL]
    assert siemens > 25e-6
    for name in ("fixed gain", "found gain", "grounded rows", "one column", "by firmware", "refired"):
        assert pins.found[name] / 0.2 == pytest.approx(siemens, abs=3e-6, rel=0.1), name
    row = pins.found["whole row"] / 0.2
    # One window only, so the converters' own offsets remain, and below 0.5 V there is nothing
    assert row == pytest.approx(np.maximum(pins.found["pinned slow"][client.CELL[0]], 0), abs=5e-6, rel=0.1)
    for name in ("external", "external, grounded"):
        assert (pins.found[name] - 0.075 / 30e3) / 0.2 == pytest.approx(siemens, abs=3e-6, rel=0.1), name


def test_one_device_is_pulsed_by_every_way_there_is_and_no_other(pins):
    ways = ("set pinned", "reset pinned", "set by hand", "reset by hand", "set single", "reset single")
    cell = client.mask_of(client.CELL).astype(int)
    for name in ways:
        assert np.array_equal(pins.pulsed(name) if name != ways[0] else pins.pulses[name], cell), name
    names = list(pins.conductance)
    for name in ways[1:]:
        moved = pins.conductance[name] - pins.conductance[names[names.index(name) - 1]]
        assert (-1) ** name.startswith("reset") * moved[client.CELL] > 10e-6, name
    assert pins.found["programmed"] == pytest.approx(50e-6, abs=8e-6)


def test_converters_and_monitors_answer(pins):
    volts = 0.5 + 3.5 * pins.found["adc"] / 1023
    assert volts == pytest.approx([1.0, 2.0, 2.25, 2.5, 3.0], abs=0.05)
    assert pins.found["monitors"].shape == (5,)
