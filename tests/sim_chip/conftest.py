"""A host at the other end of the microcontroller's line, in the same thread and with its own clock."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from crc32c import crc32c

from firmware_protocol import messages as m
from firmware_protocol.host_session import HostSession, Outcome, Ticket
from firmware_protocol.status import Status
from sim_chip.chip import VirtualChip
from sim_chip.mcu import VirtualMcu
from sim_chip.presets import preset


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Host:
    """Asks the board through real frames; lets it work only as long as an answer is missing."""

    mcu: VirtualMcu
    clock: Clock
    session: HostSession = field(default_factory=HostSession)

    def hello(self, number=1, schema_hash=m.SCHEMA_HASH, major=m.PROTOCOL_MAJOR):
        ticket = self.session.hello(m.Hello(major, 0, schema_hash, m.MAX_PAYLOAD), number, 0)
        return self.settle(ticket)

    def send(self, request):
        """Hand a request to the board without letting it work."""
        ticket = self.session.submit(request)
        self.exchange()
        return ticket

    def exchange(self):
        self.mcu.receive(self.session.transmit(self.clock()))
        self.session.receive(self.mcu.transmit(), self.clock())

    def settle(self, ticket: Ticket):
        """Status and message of the answer."""
        for _ in range(10_000):
            self.exchange()
            if ticket.outcome is not Outcome.OPEN:
                break
            self.mcu.work()
        assert ticket.outcome is Outcome.ANSWERED
        reply = m.Refusal if ticket.status != Status.OK else ticket.request.REPLY
        return Status(ticket.status), reply.unpack(ticket.payload)

    def ask(self, request):
        """The reply; an error if the board refuses."""
        status, reply = self.settle(self.session.submit(request))
        assert status is Status.OK, reply
        return reply

    def refused(self, request):
        """The status with which the board refuses, having done nothing."""
        status, reply = self.settle(self.session.submit(request))
        assert status is not Status.OK, reply
        assert reply.executed == 0
        return status

    def stage(self, data):
        """Fill the staging buffer; returns the CRC to be named."""
        for offset in range(0, len(data), m.CHUNK_BYTES):
            self.ask(m.Stage(offset, data[offset : offset + m.CHUNK_BYTES]))
        return crc32c(data)

    def fetch(self, request):
        """All bytes of a request's result."""
        result = self.ask(request)
        data = result.head
        while len(data) < result.total:
            data += self.ask(m.Fetch(len(data), m.CHUNK_BYTES)).data
        assert crc32c(data) == result.crc
        return data

    def read_sums(self, array=0, gain=2, reads=1, row=0, row_count=64, col=0, col_count=64):
        data = self.fetch(m.ReadCells(array, gain, reads, row, row_count, col, col_count))
        return np.frombuffer(data, "<u2").reshape(row_count, col_count).astype(int)

    def arm(self, ttl_ms=1000):
        return self.ask(m.Arm(ttl_ms))

    def start(self, targets, mask=None, job_id=1, **changes):
        """Stage targets (64, 64) of sums and start a job by `PLAN`."""
        mask = np.ones((64, 64), bool) if mask is None else mask
        bits = np.packbits(mask, bitorder="little").tobytes()
        crc = self.stage(bits + np.asarray(targets, "<u2").tobytes())
        self.ask(m.StartProgram(job_id=job_id, staged_crc=crc, **PLAN | changes))

    def program(self, targets, mask=None, job_id=1, **changes):
        """Run a job to its end; its last state and its report."""
        self.arm()
        self.start(targets, mask, job_id, **changes)
        job = self.run_job(job_id)
        return job, Report.of(self.fetch(m.OpenReport(job_id)))

    def run_job(self, job_id):
        """Let the board work until the job has ended, keeping the lease."""
        while (job := self.ask(m.GetJob(job_id))).state == 1:
            self.mcu.work()
        return job


def _make_host(kind="ideal", seed=0, conductance=None, faults=None, **options):
    clock = Clock()
    chip = VirtualChip(preset(kind), seed, conductance=conductance, faults=faults)
    host = Host(VirtualMcu(chip, clock=clock, **options), clock)
    host.hello()
    return host


@pytest.fixture
def make_host():
    """Makes a host in session with a chip of a kind, seed and start state."""
    return _make_host


@pytest.fixture
def host():
    """A host in session with an ideal chip."""
    return _make_host()


def volts(value):
    """DAC code of a voltage: 16 bits over ±10 V."""
    return int((value + 10) / 20 * 65535)


@dataclass(frozen=True)
class Report:
    """What a job left behind, each of shape (64, 64)."""

    sums: np.ndarray
    set_pulses: np.ndarray
    reset_pulses: np.ndarray
    volt_codes: np.ndarray
    gate_codes: np.ndarray
    verdicts: np.ndarray

    @classmethod
    def of(cls, data):
        words = np.frombuffer(data, "<u2", 5 * 4096).reshape(5, 64, 64).astype(int)
        return cls(*words, np.frombuffer(data[words.size * 2 :], np.uint8).reshape(64, 64))


PLAN = {
    "array": 0,
    "gain": 2,
    "reads": 1,
    "max_retries": 5,
    "max_rounds": 300,
    "tolerance_in": 5,
    "tolerance_out": 9,
    "set_volt_first": volts(1.0),
    "set_volt_last": volts(2.5),
    "set_volt_step": 328,
    "set_gate_first": volts(0.95),
    "set_gate_last": volts(2.0),
    "set_gate_step": 164,
    "set_width_ns": 1000,
    "reset_volt_first": volts(0.5),
    "reset_volt_last": volts(3.5),
    "reset_volt_step": 164,
    "reset_gate_first": volts(5.0),
    "reset_gate_last": volts(5.5),
    "reset_gate_step": 1638,
    "reset_width_ns": 1000,
    "predicts": 0,
    "set_short": 0,
    "order": 0,
}
"""Ramps as published for such chips; ±3 µS to be done, ±5 µS to count, 9 codes of gain 2."""


@pytest.fixture
def plan():
    """The fields of a plan, but job id and CRC."""
    return PLAN
