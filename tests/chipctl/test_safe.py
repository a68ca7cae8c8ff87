"""`chipctl safe` reaches the board whoever has the port: through its owner, or past it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import termios
import time

import numpy as np
import pytest

from chipctl import doorbell
from chipctl.board import Region
from chipctl.chip import Chip, PulseShape
from chipctl.errors import MadeSafe, ProgrammingError
from chipctl.faults import scan
from chipctl.link import Link
from chipctl.ownership import holder
from chipctl.programming import program
from chipctl.transport import open_transport
from firmware_protocol import messages as m
from firmware_protocol.rails import Rail

PULSE = PulseShape(m.SET, 1.0, 1.5, 1e-6)

OWNER = """
import sys, time
from chipctl.link import Link
from chipctl.transport import open_transport
from firmware_protocol import messages as m
with Link(open_transport(sys.argv[1])) as link:
    while True:
        state = link.request(m.GetState())
        if not state.armed:
            print("disarmed", flush=True)
            link.request(m.Arm(2000))
            print("armed", flush=True)
        time.sleep(0.01)
"""


@pytest.fixture
def owner(port):
    process = subprocess.Popen([sys.executable, "-c", OWNER, str(port)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "disarmed\n"
    assert process.stdout.readline() == "armed\n"
    yield process
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait(10)
    process.stdout.close()


def make_safe(port, **options):
    run = "from chipctl.cli.main import run; run()"
    command = [sys.executable, "-c", run, "safe", "--chip", str(port), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_free_port_is_made_safe(port):
    assert make_safe(port) == {"safe": True, "by": "this process"}


def test_the_owner_of_a_port_makes_it_safe_for_another(port, owner):
    assert make_safe(port)["by"] == f"the port's owner, process {owner.pid}"
    assert owner.stdout.readline() == "disarmed\n"


def test_a_port_is_taken_over_from_an_owner_that_hangs(port, owner):
    owner.send_signal(signal.SIGSTOP)
    assert make_safe(port)["by"] == f"taking over from process {owner.pid}"
    owner.send_signal(signal.SIGCONT)
    assert owner.wait(10) != 0


@pytest.mark.parametrize("form", ["{0.name}", "./{0.name}", "spy://{0}", "ASRL{0}::INSTR"])
def test_a_held_port_is_made_safe_by_whatever_name(port, owner, form):
    facts = make_safe(form.format(port), cwd=port.parent)
    assert facts["by"] == f"the port's owner, process {owner.pid}"
    assert owner.stdout.readline() == "disarmed\n"


def test_a_port_of_an_owner_that_cannot_be_found_is_made_safe(port, owner, tmp_path):
    owner.send_signal(signal.SIGSTOP)
    facts = make_safe(port, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)})
    assert facts["by"] == "taking over from a program that cannot be asked"
    owner.send_signal(signal.SIGCONT)
    assert owner.stdout.readline() == "disarmed\n"


def speed(port):
    line = os.open(port, os.O_RDWR | os.O_NOCTTY)
    try:
        return termios.tcgetattr(line)[5]
    finally:
        os.close(line)


def test_taking_over_leaves_the_rate_of_the_line_as_it_is(port):
    with Link(open_transport(f"{port}?baud=3000000")):
        assert speed(port) == termios.B3000000
        assert make_safe(port, env={**os.environ, "XDG_RUNTIME_DIR": str(port.parent)})["safe"]
        assert speed(port) == termios.B3000000


@contextlib.contextmanager
def process(*command):
    """A module as a process that says on stderr where it is."""
    with subprocess.Popen([sys.executable, "-m", *command], stdout=-3, stderr=-1, text=True) as started:
        yield started.stderr.readline().rpartition(" on ")[2].strip()
        started.terminate()


def test_an_owner_that_reads_the_answer_to_another_confirms_it(port, tmp_path):
    slow = ("benchmarks.bad_cable", str(tmp_path / "cable"), str(port), "--latency-s", "0.1")
    with process(*slow) as cable, Link(open_transport(cable)) as link:
        link.request(m.Arm(2000))
        assert make_safe(cable)["by"] == f"taking over from process {os.getpid()}"


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_board_on_tcp_is_made_safe_beside_its_host(is_stopped):
    with process("sim_chip.cli", "serve", "--tcp", "localhost:0") as place:
        address = f"socket://{place}"
        with subprocess.Popen([sys.executable, "-c", OWNER, address], stdout=-1, text=True) as owner:
            assert [owner.stdout.readline() for _ in range(2)] == ["disarmed\n", "armed\n"]
            owner.send_signal(signal.SIGSTOP if is_stopped else signal.SIGCONT)
            assert make_safe(address) == {"safe": True, "by": "this process"}
            owner.send_signal(signal.SIGCONT)
            assert owner.stdout.readline() == "disarmed\n"
            owner.kill()


def pulse_on(chip, ask):
    while True:
        chip.pulse(0, PULSE, Region(0, 8, 0, 8))
        ask()


def sweep_on(chip, ask):
    while True:
        chip.sweep(0, 1, 1, m.SET, np.linspace(0.1, 1.0, 50), 1.5, 1e-6)
        ask()


def scan_on(chip, ask):
    scan(chip, 0, on_progress=lambda _: ask())


def program_on(chip, ask):
    """The host's own loop, whose every batch takes the lease anew."""
    target = np.random.default_rng(1).uniform(20e-6, 140e-6, (64, 64))
    program(chip, 0, target, on_host=True, on_progress=lambda told: ask() if told.pulses else None)


@pytest.mark.parametrize("work", [pulse_on, sweep_on, scan_on, program_on])
def test_whatever_the_host_drives_ends_when_another_asks_for_safety(port, work):
    with Link(open_transport(str(port))) as link:
        chip, pulses = Chip.over(link), []

        def ask():
            if not pulses:
                assert doorbell.ask(holder(port).socket, "safe", 1.0)["safe"]
                pulses.append(chip.board.state().total_pulses)

        with pytest.raises((MadeSafe, ProgrammingError), match="asked to be safe"):
            work(chip, ask)
        state = chip.board.state()
        assert (state.total_pulses, state.armed) == (pulses[0], 0)
        with pytest.raises(MadeSafe):
            chip.set_rail(Rail.VP_PAD, 1.0)
        with pytest.raises(MadeSafe):
            chip.read(0)
        assert max(abs(rail.set_volts) for rail in chip.rails()) < 1e-3
        chip.safe()
        assert chip.pulse(0, PULSE, Region(0, 8, 0, 8)) == 64


def test_what_went_out_before_an_interruption_is_not_carried_out_after_safe(port):
    """All of it is in the board's input at once: the lease and a rail are asked for, then safety."""
    transport = open_transport(str(port))
    with Link(transport) as link:
        sent, write = [], transport.write
        transport.write = sent.append
        transport.read, read = interrupted, transport.read
        with pytest.raises(KeyboardInterrupt):
            link.pipeline([m.Arm(2000), m.SetRail(Rail.VP_PAD, 40_000)])
        transport.write = lambda data: write(b"".join([*sent, data]))
        transport.read = read
        assert link.safe().armed == 0
        transport.write = write
        assert link.request(m.GetState()).armed == 0
        assert link.request(m.GetRails()).set_codes[Rail.VP_PAD] == 32767


def interrupted(_):
    raise KeyboardInterrupt


def test_a_session_opened_again_after_the_line_was_lost_knows_no_more_of_safety_than_the_one_before(port):
    with Link(open_transport(str(port))) as link:
        assert doorbell.ask(holder(port).socket, "safe", 1.0)["safe"]
        link.reopen(1.0)
        with pytest.raises(MadeSafe, match="connect again"):
            link.request(m.Arm(2000))
        link.open()
        assert link.request(m.Arm(2000)).armed


def test_the_owner_says_how_it_stands(port, owner):
    status = doorbell.ask(holder(port).socket, "status", 1.0)
    assert (status["pid"], status["port"]) == (owner.pid, str(port))


def test_events_are_seen_live(port):
    with Link(open_transport(str(port))) as link, socket.socket(socket.AF_UNIX) as line:
        line.settimeout(5)
        line.connect(str(holder(port).socket))
        line.sendall(b'{"ask": "events"}\n')
        time.sleep(0.2)
        link.request(m.GetState())
        with line.makefile() as lines:
            event = json.loads(lines.readline())
    assert (event["kind"], event["opcode"]) == ("reply", m.State.OPCODE)
