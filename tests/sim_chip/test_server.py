"""The virtual chip behind real ports, served by a process of its own, and in-process."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import serial
from crc32c import crc32c

from firmware_protocol import messages as m
from firmware_protocol.bulk import unpack_op_log, unpack_planted
from firmware_protocol.host_session import HostSession, Outcome
from firmware_protocol.rails import Rail
from firmware_protocol.status import Executed, Fault, ResetCause, Status
from sim_chip.board import board_file
from sim_chip.server import connect

GRACE_S = 10.0


class LineHost:
    """Asks through a line: anything that can write bytes and read some within a time."""

    def __init__(self, write, read, number=1):
        self.write, self.read = write, read
        self.session = HostSession()
        hello = m.Hello(m.PROTOCOL_MAJOR, 0, m.SCHEMA_HASH, m.MAX_PAYLOAD)
        self.welcome = self.settle(self.session.hello(hello, number, 0))

    def ask(self, request):
        return self.settle(self.session.submit(request))

    def settle(self, ticket):
        end = time.monotonic() + GRACE_S
        while ticket.outcome is Outcome.OPEN and time.monotonic() < end:
            out = self.session.transmit(time.monotonic())
            if out:
                self.write(out)
            self.session.receive(self.read(0.02), time.monotonic())
        assert (ticket.outcome, ticket.status) == (Outcome.ANSWERED, Status.OK)
        return ticket.request.REPLY.unpack(ticket.payload)


class SerialLine(LineHost):
    def __init__(self, path, number=1):
        self.port = serial.Serial(str(path), timeout=0, write_timeout=GRACE_S, exclusive=True)
        super().__init__(self.port.write, self._read, number)

    def close(self):
        self.port.close()

    def _read(self, timeout_s):
        self.port.timeout = timeout_s
        first = self.port.read(1)
        return first + self.port.read(self.port.in_waiting)


class SocketLine(LineHost):
    def __init__(self, address, number=1):
        self.socket = socket.create_connection(address, timeout=GRACE_S)
        super().__init__(self.socket.sendall, self._read, number)

    def close(self):
        self.socket.close()

    def _read(self, timeout_s):
        self.socket.settimeout(timeout_s)
        with contextlib.suppress(TimeoutError):
            return self.socket.recv(65_536)
        return b""


@pytest.fixture
def open_line():
    """Opens a line to a path or to (host, port), and closes it after the test."""
    with contextlib.ExitStack() as stack:

        def open_one(place, number=1):
            line = SocketLine(place, number) if isinstance(place, tuple) else SerialLine(place, number)
            stack.callback(line.close)
            return line

        yield open_one


@contextlib.contextmanager
def serving(*options):
    """A `sim-chip serve` process; yields it and where it serves."""
    command = [sys.executable, "-m", "sim_chip.cli", "serve", *map(str, options)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline()
        assert line.startswith("serving"), line + process.stderr.read()
        yield process, line.split(" on ")[1].strip()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def end(process, number=signal.SIGTERM):
    process.send_signal(number)
    return process.wait(GRACE_S)


def test_a_chip_answers_on_a_pseudo_terminal(tmp_path, open_line):
    path = tmp_path / "chip"
    with serving("--pty", path, "--preset", "ideal") as (process, where):
        assert where == str(path)
        line = open_line(path)
        assert line.ask(m.GetInfo()).arrays == 3
        line.close()
        again = open_line(path, number=2)
        assert again.welcome.boot_id == line.welcome.boot_id
        assert end(process) == 0
        assert not path.is_symlink()
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_chip_answers_on_tcp_to_one_host_after_another(number, open_line):
    with serving("--tcp", "localhost:0") as (process, where):
        address = ("localhost", int(where.rpartition(":")[2]))
        first = open_line(address)
        first.ask(m.Arm(2000))
        first.ask(m.Pulse(0, m.SET, 36044, 38500, 1000, 1, 0, 1, 0, 1))
        first.close()
        assert open_line(address, number=2).ask(m.GetState()).total_pulses == 1
        assert end(process, number) == 0


def refused(*options, file_bytes=None):
    """What `sim-chip serve` says that does not start, where a file may have `file_bytes` at most."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    done = subprocess.run(
        [sys.executable, "-m", "sim_chip.cli", "serve", *map(str, options)],
        stderr=subprocess.PIPE,
        text=True,
        timeout=GRACE_S,
        preexec_fn=limit if file_bytes else None,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    return done.stderr


@pytest.mark.parametrize("file_bytes", [4096, 400_000])
def test_a_full_disk_is_named_and_nothing_is_left_on_it(tmp_path, file_bytes):
    says = refused("--pty", tmp_path / "chip", "--state", tmp_path / "state", file_bytes=file_bytes)
    assert "state cannot be written" in says
    assert list(tmp_path.iterdir()) == []


def test_memory_of_the_board_that_finds_no_room_is_not_left_half_made(tmp_path):
    with serving("--pty", tmp_path / "chip", "--state", tmp_path / "state") as (process, _):
        end(process)
    board_file(tmp_path / "state").unlink()
    says = refused("--pty", tmp_path / "chip", "--state", tmp_path / "state", file_bytes=4096)
    assert "state.board cannot be written" in says
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_tcp_port_that_is_taken_is_named():
    with socket.create_server(("localhost", 0)) as taken:
        place = f"localhost:{taken.getsockname()[1]}"
        assert f"{place} is in use by another program" in refused("--tcp", place)


def test_bytes_that_a_host_does_not_read_are_dropped_and_counted(tmp_path, open_line):
    """20000 answers of half a kilobyte are more than the server and the network keep."""
    with serving("--tcp", "localhost:0", "--preset", "ideal") as (_, where):
        address = ("localhost", int(where.rpartition(":")[2]))
        deaf = open_line(address)
        deaf.ask(m.ReadCells(0, 2, 1, 0, 64, 0, 64))
        sent = []
        deaf.write = lambda data: (sent.append(data), deaf.socket.sendall(data))
        deaf.ask(m.Fetch(0, 560))
        for _ in range(200):
            deaf.socket.sendall(sent[-1] * 100)
        deaf.close()
        assert open_line(address, number=2).ask(m.GetState()).dropped_bytes > 0


def test_many_bytes_cross_a_pseudo_terminal_both_ways(tmp_path, open_line):
    with serving("--pty", tmp_path / "chip", "--preset", "ideal"):
        line = open_line(tmp_path / "chip")
        data = bytes(range(256)) * 64
        for offset in range(0, len(data), m.CHUNK_BYTES):
            staged = line.ask(m.Stage(offset, data[offset : offset + m.CHUNK_BYTES]))
        assert staged.filled == len(data)
        result = line.ask(m.ReadCells(0, 2, 1, 0, 64, 0, 64))
        fetched = result.head
        while len(fetched) < result.total:
            fetched += line.ask(m.Fetch(len(fetched), m.CHUNK_BYTES)).data
        assert len(fetched) == 8192


def cpu_s(process):
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_idle_server_sleeps(tmp_path, open_line):
    with serving("--pty", tmp_path / "chip") as (process, _):
        open_line(tmp_path / "chip").ask(m.GetInfo())
        before = cpu_s(process)
        time.sleep(1.0)
        assert cpu_s(process) - before <= 0.01


def test_a_host_that_vanishes_in_mid_job_leaves_the_chip_safe(tmp_path, open_line):
    with serving("--pty", tmp_path / "chip") as (_, _):
        line = open_line(tmp_path / "chip")
        line.ask(m.Arm(100))
        line.session.submit(m.Pulse(0, m.SET, 36044, 38500, 1000, 10_000, 0, 64, 0, 64))
        line.write(line.session.transmit(time.monotonic()))
        line.close()
        time.sleep(0.4)
        state = open_line(tmp_path / "chip", number=2).ask(m.GetState())
        assert (state.armed, state.fault) == (0, Fault.LEASE_LAPSED)
        assert 0 < state.total_pulses < 4096 * 10_000


SLOW = m.Pulse(0, m.SET, 36044, 38500, 10_000_000, 60, 0, 1, 0, 1)
"""60 pulses of 10 ms on one device, which take a chip that follows the wall's clock 0.6 s."""


@pytest.mark.parametrize("expect_s", [0.0, 0.6])
def test_pulses_that_outlast_the_lease_are_given_to_the_end_while_their_host_lives(
    tmp_path, open_line, expect_s
):
    with serving("--pty", tmp_path / "chip", "--pace", "real"):
        line = open_line(tmp_path / "chip")
        line.ask(m.Arm(250))
        began_s = time.monotonic()
        assert line.settle(line.session.submit(SLOW, expect_s)).pulses == 60
        assert time.monotonic() - began_s > 0.55


def test_pulses_of_a_host_that_fell_silent_end_with_its_lease_to_the_pulse(tmp_path, open_line):
    with serving("--pty", tmp_path / "chip", "--pace", "real"):
        line = open_line(tmp_path / "chip")
        line.ask(m.Arm(100))
        line.session.submit(replace(SLOW, count=1, row_count=64, col_count=64))
        line.write(line.session.transmit(time.monotonic()))
        time.sleep(0.3)
        line.close()
        state = open_line(tmp_path / "chip", number=2).ask(m.GetState())
        assert state.fault == Fault.LEASE_LAPSED
        assert 1 <= state.total_pulses <= 11


def test_a_host_that_does_not_read_never_stops_the_board(tmp_path, open_line):
    with serving("--pty", tmp_path / "chip") as (process, _):
        line = open_line(tmp_path / "chip")
        line.ask(m.ReadCells(0, 2, 1, 0, 64, 0, 64))
        line.session.submit(m.Safe())
        data = line.session.transmit(time.monotonic())
        for _ in range(5000):
            line.write(data)
        line.port.reset_input_buffer()
        assert line.ask(m.GetState()).armed == 0
        assert end(process) == 0


def test_state_is_kept_in_a_file_even_if_the_server_is_killed(tmp_path, open_line):
    state, path = tmp_path / "chip.state", tmp_path / "chip"
    with serving("--pty", path, "--state", state) as (process, _):
        line = open_line(path)
        line.ask(m.Arm(1000))
        line.ask(m.Pulse(0, m.SET, 39000, 37000, 1000, 3, 0, 8, 0, 8))
        before = line.ask(m.GetPlanted(0)).crc
        line.close()
        process.kill()
        process.wait()
    with serving("--pty", path, "--state", state):
        line = open_line(path)
        assert line.ask(m.GetState()).total_pulses == 192
        assert line.ask(m.GetPlanted(0)).crc == before


PLAN = m.StartProgram(
    job_id=9,
    array=0,
    gain=2,
    reads=1,
    max_retries=5,
    max_rounds=5000,
    tolerance_in=0,
    tolerance_out=9,
    set_volt_first=36044,
    set_volt_last=40959,
    set_volt_step=328,
    set_gate_first=35880,
    set_gate_last=39321,
    set_gate_step=164,
    set_width_ns=1000,
    reset_volt_first=34406,
    reset_volt_last=44236,
    reset_volt_step=164,
    reset_gate_first=49151,
    reset_gate_last=50789,
    reset_gate_step=1638,
    reset_width_ns=1000,
    predicts=0,
    set_short=0,
    order=0,
    staged_crc=0,
)


def start_job(line, job_id=9):
    """A write-and-verify job that goes on for as long as it is left alone."""
    plan = b"\xff" * 512 + (100).to_bytes(2, "little") * 4096
    for offset in range(0, len(plan), m.CHUNK_BYTES):
        line.ask(m.Stage(offset, plan[offset : offset + m.CHUNK_BYTES]))
    line.ask(m.Arm(2000))
    line.ask(replace(PLAN, job_id=job_id, staged_crc=crc32c(plan)))


def op_log(line):
    result = line.ask(m.GetOpLog(14))
    assert len(result.head) == result.total
    return unpack_op_log(result.head).effects


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.15, 0.3])
def test_a_job_cut_off_by_a_kill_is_in_the_log_with_every_pulse_it_gave(tmp_path, open_line, after_s):
    options = ("--pty", tmp_path / "chip", "--state", tmp_path / "chip.state")
    with serving(*options) as (process, _):
        line = open_line(tmp_path / "chip")
        line.ask(m.Arm(1000))
        line.ask(m.Pulse(1, m.SET, 39000, 37000, 1000, 3, 0, 8, 0, 8))
        start_job(line)
        time.sleep(after_s)
        process.kill()
        process.wait()
        line.close()
    with serving(*options):
        again = open_line(tmp_path / "chip", number=2)
        assert again.welcome.boot_id != line.welcome.boot_id
        state = again.ask(m.GetState())
        assert (state.log_lost, state.armed, state.job_id) == (0, 0, 0)
        pulse, job = op_log(again)
        assert (pulse.executed, pulse.pulses) == (Executed.YES, 192)
        assert (job.job_id, job.array, job.boot_id) == (9, 0, line.welcome.boot_id)
        assert job.executed is (Executed.PARTIAL if job.pulses else Executed.NO)
        assert (job.pulses_before, job.pulses_after) == (192, state.total_pulses)
        book = again.ask(m.GetBook())
        assert book.set_pulses + book.reset_pulses == state.total_pulses
        assert again.ask(m.GetRails()).set_codes == (32767,) * 16


def deleted(memory):
    memory.unlink()


def emptied(memory):
    memory.write_bytes(b"")


def cut(memory):
    memory.write_bytes(memory.read_bytes()[:1000])


@pytest.mark.parametrize("lose", [deleted, emptied, cut])
def test_stored_limits_outlive_a_kill_and_nothing_is_permitted_where_they_are_lost(tmp_path, open_line, lose):
    state, options = tmp_path / "chip.state", ("--pty", tmp_path / "chip", "--state", tmp_path / "chip.state")
    with serving(*options, "--commission") as (process, _):
        line = open_line(tmp_path / "chip")
        limits = replace(line.ask(m.GetLimits()), set_code=40000)
        line.ask(m.StoreLimits(**vars(limits)))
        process.kill()
        process.wait()
        line.close()
    with serving(*options):
        line = open_line(tmp_path / "chip")
        assert line.ask(m.GetLimits()) == limits
        line.close()
    lose(board_file(state))
    with serving(*options):
        line = open_line(tmp_path / "chip")
        assert line.ask(m.GetState()).limits_lost == 1
        assert line.ask(m.GetLimits()).pulses_per_device == 0


def test_sigusr1_resets_the_board_and_leaves_the_port(tmp_path, open_line):
    with serving("--pty", tmp_path / "chip") as (process, _):
        line = open_line(tmp_path / "chip")
        start_job(line)
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.2)
        line.close()
        again = open_line(tmp_path / "chip", number=2)
        assert again.welcome.boot_id != line.welcome.boot_id
        assert again.welcome.reset_cause == ResetCause.COMMAND
        assert op_log(again)[-1].job_id == 9
        assert end(process) == 0


def test_a_virtual_board_in_this_process_can_be_reset():
    line = connect("sim://?preset=ideal")
    boot_id = LineHost(line.write, line.read).welcome.boot_id
    line.reset()
    assert LineHost(line.write, line.read, number=2).welcome.boot_id != boot_id
    line.close()


def refusal_to_serve(*options):
    command = [sys.executable, "-m", "sim_chip.cli", "serve", *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GRACE_S, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


def test_the_state_of_another_chip_is_refused(tmp_path):
    state = tmp_path / "chip.state"
    connect(f"sim://?preset=poor&seed=3&state={state}").close()
    before = state.read_bytes()
    assert "preset poor, seed 3" in refusal_to_serve("--tcp", "localhost:0", "--state", state)
    assert state.read_bytes() == before


def test_a_file_in_the_way_is_left_alone(tmp_path):
    path = tmp_path / "thesis"
    path.write_text("precious")
    assert "choose another path" in refusal_to_serve("--pty", path)
    assert path.read_text() == "precious"


def test_two_servers_do_not_share_a_path(tmp_path, open_line):
    with serving("--pty", tmp_path / "chip"):
        assert "another running sim-chip" in refusal_to_serve("--pty", tmp_path / "chip")
        assert open_line(tmp_path / "chip").ask(m.GetState()).armed == 0


def test_two_servers_do_not_share_a_chip(tmp_path):
    state = tmp_path / "chip.state"
    with serving("--pty", tmp_path / "chip", "--state", state):
        assert "in use" in refusal_to_serve("--tcp", "localhost:0", "--state", state)


def test_a_link_left_by_a_killed_server_is_replaced(tmp_path, open_line):
    with serving("--pty", tmp_path / "chip"):
        pass
    assert (tmp_path / "chip").is_symlink()
    with serving("--pty", tmp_path / "chip"):
        assert open_line(tmp_path / "chip").ask(m.GetState()).armed == 0


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ([], "--pty PATH or --tcp HOST:PORT"),
        (["--tcp", "nowhere"], "localhost:7000"),
        (["--tcp", "localhost:0", "--preset", "perfect"], "ideal, good, poor"),
        (["--pty", "/nonexistent/chip"], "/nonexistent"),
    ],
    ids=str,
)
def test_a_wrong_option_is_explained_in_one_line(options, hint):
    message = refusal_to_serve(*options)
    assert hint in message
    assert message.count("\n") == 1


def test_a_chip_in_this_process_needs_no_port():
    line = connect("sim://?preset=ideal&seed=7")
    host = LineHost(line.write, line.read)
    assert host.welcome.commissioning == 0
    assert host.ask(m.ReadCells(0, 2, 1, 0, 1, 0, 1)).total == 2
    line.close()


def test_a_job_goes_on_while_its_caller_sleeps():
    line = connect("sim://?preset=ideal")
    host = LineHost(line.write, line.read)
    host.ask(m.Arm(2000))
    host.session.submit(m.Pulse(0, m.SET, 36044, 38500, 1000, 64, 0, 64, 0, 64))
    line.write(host.session.transmit(time.monotonic()))
    time.sleep(0.5)
    assert line.read(0.0)
    line.close()


def test_an_answer_is_read_as_soon_as_it_is_there():
    line = connect("sim://?preset=ideal")
    host = LineHost(line.write, line.read)
    host.ask(m.Arm(2000))
    start = time.monotonic()
    for _ in range(10):
        host.ask(m.ReadCells(0, 2, 1, 0, 1, 0, 1))
    assert time.monotonic() - start < 0.15
    line.close()


def test_reading_from_an_idle_chip_waits_the_time_it_was_given():
    line = connect("sim://")
    start = time.monotonic()
    assert line.read(0.05) == b""
    assert 0.05 <= time.monotonic() - start < 0.2


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("sim://?preset=perfect", "ideal, good, poor"),
        ("sim://?sed=7", "preset, seed, state, commission"),
        ("sim://?seed=seven", "whole number"),
        ("sim://host?seed=7", "sim://?preset=good&seed=7"),
    ],
)
def test_an_address_of_no_virtual_chip_is_refused_with_what_there_is(address, hint):
    with pytest.raises(ValueError, match=hint.replace("?", r"\?")):
        connect(address)


def planted(line, array):
    host = LineHost(line.write, line.read)
    total = host.ask(m.GetPlanted(array)).total
    parts = [host.ask(m.Fetch(first, m.CHUNK_BYTES)).data for first in range(0, total, m.CHUNK_BYTES)]
    return unpack_planted(b"".join(parts), (64, 64))


def test_a_chip_is_made_with_the_faults_and_the_start_state_of_files(tmp_path):
    kinds = np.zeros((6, 64, 64), np.uint8)
    kinds[5, 3, 4] = 3
    stuck = np.full(kinds.shape, 42e-6)
    np.savez(
        tmp_path / "faults.npz", kinds=kinds, stuck_siemens=stuck, dead_rows=[(5, 7)], dead_cols=[(5, 8)]
    )
    np.save(tmp_path / "start.npy", np.full(kinds.shape, 50e-6))
    files = f"faults={tmp_path}/faults.npz&conductance={tmp_path}/start.npy"
    line = connect(f"sim://?preset=mao22&{files}")
    found, units = planted(line, 5)
    assert np.argwhere(found).tolist() == [[3, 4]]
    assert units[3, 4] == 4_200_000
    assert units[0, 0] == 5_000_000
    read = LineHost(line.write, line.read, 2).ask(m.ReadCells(5, 2, 1, 7, 2, 8, 2))
    dead_row_and_col, dead_row, dead_col, whole = np.frombuffer(read.head, "<u2")
    assert max(dead_row_and_col, dead_row, dead_col) < 30 < 60 < whole
    line.close()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"dead_row": [(0, 1)]}, "has dead_row; there are"),
        ({"dead_rows": [(3, 1)]}, "dead_rows names 3, 1"),
        ({"dead_adcs": [1, 2]}, "dead_adcs of"),
        ({"kinds": np.zeros((6, 64, 64))}, r"kinds is \(6, 64, 64\)"),
        ({"kinds": np.full((3, 64, 64), 9)}, "0 healthy"),
    ],
)
def test_a_plan_of_faults_for_another_chip_is_refused(tmp_path, fields, reason):
    np.savez(tmp_path / "faults.npz", **fields)
    with pytest.raises(ValueError, match=reason):
        connect(f"sim://?faults={tmp_path}/faults.npz")


PULSE = m.Pulse(0, m.SET, 36044, 38500, 1000, 1, 0, 8, 0, 8)
INCIDENTS = {
    "brown_outs": (4.0, Fault.BROWN_OUT),
    "stray_rails": (Rail.VREF_TIA, Fault.SUPPLY_OUT_OF_RANGE),
    "stopped_adcs": (0, Fault.CONVERTER_TIMEOUT),
}


@pytest.mark.parametrize("kind", INCIDENTS)
def test_what_goes_wrong_around_a_served_board_latches_a_fault_until_it_is_over(tmp_path, open_line, kind):
    place, fault = INCIDENTS[kind]
    np.savez(tmp_path / "faults.npz", **{kind: [(100, 0.0, 0.5, place)]})
    options = ("--pty", tmp_path / "chip", "--faults", tmp_path / "faults.npz")
    with serving(*options):
        line = open_line(tmp_path / "chip")
        line.ask(m.Arm(2000))
        for request in (PULSE, PULSE, m.ReadCells(0, 2, 1, 0, 64, 0, 64)):
            with contextlib.suppress(AssertionError):
                line.ask(request)
        state = line.ask(m.GetState())
        assert (state.fault, state.armed) == (fault, 0)
        assert len(set(line.ask(m.GetRails()).set_codes)) == 1
        time.sleep(0.6)
        assert line.ask(m.ClearFault(fault)).fault == Fault.NONE
        line.ask(m.Arm(2000))
        assert line.ask(PULSE).total_pulses == state.total_pulses + 64


def test_incidents_are_checked(tmp_path):
    np.savez(tmp_path / "faults.npz", stopped_adcs=[(0, 0, 1, 3)])
    with pytest.raises(ValueError, match="stopped_adcs names 3; allowed are 0 to 2"):
        connect(f"sim://?faults={tmp_path}/faults.npz")
