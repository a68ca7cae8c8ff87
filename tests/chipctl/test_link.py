"""A link to the virtual chip: through a real port, over a bad line, and to what is no board."""

import os
import pty
import random
import signal
import socket
import threading
import tty
from contextlib import contextmanager
from itertools import repeat

import pytest
import structlog
from crc32c import crc32c

from chipctl.errors import DeviceError, LinkError, LinkTimeout, OutcomeUnknown, PortBusy, ProtocolError
from chipctl.link import Link
from chipctl.transport import open_transport
from firmware_protocol import messages as m
from firmware_protocol.frame import Decoder, Frame, Kind, encode
from firmware_protocol.status import Executed, Status
from sim_chip.board import Board, Setup
from sim_chip.chip import VirtualChip
from sim_chip.mcu import VirtualMcu
from sim_chip.presets import preset
from sim_chip.server import serve_pty, serve_tcp

SIM = "sim://?preset=good&seed=7"
PULSE = m.Pulse(0, m.SET, 36000, 36000, 100, 1, 0, 1, 0, 1)


@contextmanager
def served(serve, *where):
    """Address of a virtual chip served by a thread."""
    stop, stopper = socket.socketpair()
    address, ready = [], threading.Event()

    def tell(name):
        address.append(name)
        ready.set()

    thread = threading.Thread(target=serve, args=(Board(Setup(seed=7)), *where, stop, tell))
    thread.start()
    assert ready.wait(10)
    try:
        yield address[0]
    finally:
        stopper.close()
        thread.join(10)
        stop.close()


@pytest.fixture(params=["pty", "tcp", "sim"])
def address(request, tmp_path):
    if request.param == "pty":
        with served(serve_pty, tmp_path / "port") as path:
            yield path
    elif request.param == "tcp":
        with served(serve_tcp, ("127.0.0.1", 0)) as at:
            yield f"socket://{at}"
    else:
        yield SIM


@pytest.fixture
def link():
    with Link(open_transport(SIM)) as link:
        yield link


class BadLine:
    """A transport whose frames are lost and whose bits flip; host and board live by its own clock."""

    def __init__(self, seed, drop=0.0, flip=0.0):
        self.name = "bad line"
        self.dice, self.drop, self.flip = random.Random(seed), drop, flip
        self.now = 0.0
        self.reset()

    def reset(self):
        """Another start of the board's processor."""
        self.mcu = VirtualMcu(VirtualChip(preset("good"), 7), clock=self.clock)

    def clock(self):
        return self.now

    def write(self, data):
        for frame in self.damaged(data):
            self.mcu.receive(frame)

    def read(self, timeout_s):
        end = self.now + timeout_s
        while True:
            self.now += 0.0005
            due_s = self.mcu.work()
            data = self.mcu.transmit()
            if data or self.now >= end:
                return b"".join(self.damaged(data))
            self.now = min(end, self.now + due_s) if due_s is not None else end

    def damaged(self, data):
        for frame in data.split(b"\0"):
            if frame and self.dice.random() >= self.drop:
                mangled = bytearray(b"\0" + frame + b"\0")
                while self.flip and self.dice.random() < 1 - (1 - self.flip) ** (8 * len(mangled)):
                    mangled[self.dice.randrange(len(mangled))] ^= 1 << self.dice.randrange(8)
                yield bytes(mangled)

    def close(self):
        self.mcu.power_down()


def products(link, vectors):
    """Stage 8-bit vectors and fetch all sums: (number of staged bytes, result)."""
    staged = bytes([1, 0]) * (64 * vectors)
    link.stage(staged)
    request = m.Multiply(0, 2, 2, 1, 8, 0, 0, 64, vectors, crc32c(staged))
    return len(staged), link.collect(link.request(request))


def test_a_board_says_who_it_is_and_answers(address):
    with Link(open_transport(address)) as link:
        assert link.welcome.protocol_major == m.PROTOCOL_MAJOR
        assert link.request(m.GetInfo()).rows == 64
        assert len(link.collect(link.request(m.ReadCells(0, 2, 1, 0, 64, 0, 64)))) == 2 * 64 * 64
        assert link.safe().armed == 0
        assert link.statistics.bad_frames == 0


def test_a_port_serves_one_session_after_the_other(address):
    for _ in range(3):
        with Link(open_transport(address)) as link:
            assert link.request(m.GetInfo()).cols == 64


@pytest.mark.parametrize("faults", [{"drop": 0.2}, {"flip": 1e-3}, {"drop": 0.05, "flip": 1e-4}])
@pytest.mark.parametrize("seed", range(3))
def test_bulk_data_passes_a_bad_line_unharmed(faults, seed):
    line = BadLine(seed, **faults)
    with Link(line, clock=line.clock) as link:
        staged, result = products(link, 160)
        assert staged == 20_480
        assert len(result) > 40_000
        assert link.statistics.retransmissions > 0


@pytest.mark.parametrize("seed", range(5))
def test_pulses_on_a_bad_line_are_counted_alike_on_both_sides(seed):
    line = BadLine(seed, drop=0.2)
    with Link(line, clock=line.clock) as link:
        before = link.request(m.GetState()).total_pulses
        for _ in range(40):
            link.pipeline([m.Arm(2000), PULSE])
        assert link.request(m.GetState()).total_pulses - before == 40


def test_a_whole_array_is_read_in_few_round_trips(link):
    before = link.statistics.round_trips
    link.collect(link.request(m.ReadCells(0, 2, 1, 0, 64, 0, 64)))
    assert link.statistics.round_trips - before <= 6


def test_a_refusal_names_request_status_and_reason(link):
    with pytest.raises(DeviceError, match="the board refused Pulse: not_armed") as caught:
        link.request(PULSE)
    assert (caught.value.status, caught.value.executed) == (Status.NOT_ARMED, Executed.NO)
    assert caught.value.exit_status == Status.NOT_ARMED


def test_nothing_runs_past_a_refusal_in_a_pipeline(link):
    before = link.request(m.GetState()).total_pulses
    with pytest.raises(DeviceError) as caught:
        link.pipeline([m.Arm(2000), PULSE, m.ReadCells(99, 0, 1, 0, 1, 0, 1), *[PULSE] * 30])
    assert caught.value.completed == 2
    assert link.request(m.GetState()).total_pulses == before + 1


def test_an_interruption_leaves_the_link_fit_for_safe(link):
    def interrupt(timeout_s):
        link.transport.read = original
        raise KeyboardInterrupt

    original = link.transport.read
    link.request(m.Arm(2000))
    link.transport.read = interrupt
    with pytest.raises(KeyboardInterrupt):
        link.pipeline([PULSE] * 50)
    assert link.safe().armed == 0
    assert link.request(m.GetState()).total_pulses <= 8


def test_a_real_control_c_leaves_the_link_fit_for_safe(tmp_path):
    with served(serve_pty, tmp_path / "port") as path, Link(open_transport(path)) as link:
        for delay in (0.001, 0.003, 0.01, 0.02):
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, delay)
            with pytest.raises(KeyboardInterrupt):
                link.pipeline(repeat(m.GetState()))
            assert link.safe().armed == 0
            assert link.request(m.GetInfo()).rows == 64
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_safe_needs_no_session():
    link = Link(open_transport(SIM))
    assert link.safe().armed == 0
    link.close()


def test_a_board_that_was_reset_leaves_the_effect_unknown_and_a_new_session_works():
    line = BadLine(1)
    with Link(line, clock=line.clock) as link:
        link.request(m.Arm(2000))
        line.reset()
        with pytest.raises(OutcomeUnknown, match=r"once or not at all.*reset"):
            link.pipeline([m.GetState(), PULSE])
        with pytest.raises(LinkError, match="no longer knows this session"):
            link.request(m.GetInfo())
        link.open()
        assert link.request(m.GetInfo()).rows == 64


def test_a_line_that_goes_dead_ends_every_request():
    line = BadLine(1)
    with Link(line, clock=line.clock) as link:
        line.drop = 1.0
        with pytest.raises(LinkTimeout, match="no answer after"):
            link.request(m.GetInfo())
        with pytest.raises(LinkTimeout, match="did not confirm"):
            link.safe()
        assert line.now < 30


def test_an_unplugged_board_leaves_the_effect_unknown(tmp_path):
    with served(serve_pty, tmp_path / "port") as path:
        link = Link(open_transport(path))
        link.open()
    with pytest.raises(OutcomeUnknown, match=r"once or not at all; the other side is gone"):
        link.request(m.Wait(1))
    with pytest.raises(LinkTimeout, match="did not confirm"):
        link.safe()
    link.close()


def test_other_layouts_make_a_session_read_only(link, monkeypatch):
    monkeypatch.setattr("chipctl.link.SCHEMA_HASH", 1)
    assert link.request(m.GetInfo()).rows == 64
    with pytest.raises(ProtocolError, match="may only read"):
        link.request(PULSE)


# What is no board


@contextmanager
def answering(answer):
    """A port at which `answer(data)` answers."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)

    def serve():
        try:
            while data := os.read(ours, 4096):
                os.write(ours, answer(data))
        except OSError:
            pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield os.ttyname(theirs)
    finally:
        os.close(theirs)
        thread.join(5)
        os.close(ours)


def of_another_major(data):
    body = bytearray(encode(Frame(Kind.REPLY, m.Welcome.OPCODE, 0, 0)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("firmware_protocol.frame.PROTOCOL_MAJOR", 9)
        body = encode(Frame(Kind.REPLY, m.Welcome.OPCODE, 0, 0))
    return body


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda data: b"", LinkError, "nothing answers; check that the board has power"),
        (lambda data: b"login: ", LinkError, "answers, but not in this protocol; check the port"),
        (lambda data: data, LinkError, "sends back what it is sent"),
        (of_another_major, ProtocolError, r"speaks protocol 9, this chipctl 1\.0; install"),
    ],
    ids=["silent", "nonsense", "echo", "another major"],
)
def test_what_is_no_board_is_told_apart(answer, error, message):
    with answering(answer) as port, pytest.raises(error, match=message), Link(open_transport(port)):
        pass


def test_a_refused_hello_names_both_versions():
    def refuse(data):
        return b"".join(
            encode(
                Frame(Kind.REPLY, m.Refusal.OPCODE, frame.session, frame.seq, status=Status.VERSION_MISMATCH)
            )
            for frame in Decoder().feed(data)
        )

    with answering(refuse) as port, pytest.raises(ProtocolError, match="flash"), Link(open_transport(port)):
        pass


def test_a_failed_opening_lets_go_of_the_port():
    with answering(lambda data: data) as port:
        for _ in range(2):
            with pytest.raises(LinkError, match="sends back"), Link(open_transport(port)):
                pass


def test_a_busy_port_is_refused_before_a_byte_is_sent(tmp_path):
    with (
        served(serve_pty, tmp_path / "port") as path,
        Link(open_transport(path)),
        pytest.raises(PortBusy, match="in use by process"),
    ):
        open_transport(path)


@pytest.fixture
def lines():
    """Lines of the log; it is as it was afterwards, also where nobody had configured it."""
    was_configured = structlog.is_configured()
    with structlog.testing.capture_logs() as lines:
        yield lines
    if not was_configured:
        structlog.reset_defaults()


def test_a_long_run_tells_what_crosses_the_link_every_few_seconds(lines):
    now = [0.0]
    with Link(open_transport(SIM), clock=lambda: now[0]) as link:
        for _ in range(12):
            link.request(m.GetState())
            now[0] += 1.0
    told = [line for line in lines if line["event"] == "link"]
    assert [line["requests"] for line in told] == [7, 12]
    assert all(line["retransmissions"] == 0 and line["bytes_in"] > 0 for line in told)


@pytest.mark.parametrize("force", [False, True])
def test_a_session_with_other_layouts_may_only_read_unless_it_is_forced(monkeypatch, force):
    monkeypatch.setattr("chipctl.link.SCHEMA_HASH", m.SCHEMA_HASH ^ 1)
    with Link(open_transport(SIM), force=force) as link:
        assert link.request(m.ReadCells(0, 2, 1, 0, 1, 0, 1)).total == 2
        if force:
            assert link.pipeline([m.Arm(2000), PULSE])[1].pulses
        else:
            with pytest.raises(ProtocolError, match="force=True"):
                link.request(m.Arm(2000))
