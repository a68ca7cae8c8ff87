"""The virtual chip's microcontroller: executes the requests of `firmware_protocol.messages`."""

import logging
import secrets
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final

from crc32c import crc32c

from firmware_protocol import messages as m
from firmware_protocol.device_session import DeviceSession, Inbound
from firmware_protocol.jobs import JobState
from firmware_protocol.status import Executed, Fault, ResetCause, Status
from firmware_protocol.wire import Message, OpClass, Request, WireError
from sim_chip.buffers import ResultBuffer, Staging
from sim_chip.chip import VirtualChip
from sim_chip.converters import Rail
from sim_chip.guard import (
    GROUND_CODE,
    MAX_TTL_MS,
    MIN_TTL_MS,
    NEW_BOARD,
    BadFrameWatch,
    Lease,
    PulseRules,
    Refused,
    check_range,
    tightened,
)
from sim_chip.jobs import Jobs
from sim_chip.program import Program, check_plan, staged_bytes
from sim_chip.pulses import PulseBatch, Pulser, mapped_pulses, same_pulse
from sim_chip.readout import check_multiply, check_read, multiply, read_cells, vectors

_log = logging.getLogger(__name__)

STAGING_BYTES: Final = 128 * 1024
RESULT_BYTES: Final = 320 * 1024
BAD_FRAMES_PER_SECOND: Final = 200
REPORTS_KEPT: Final = 16

_DAC_BITS: Final = 16
_DAC_SPAN_UV: Final = (-10_000_000, 10_000_000)
_READ_UV: Final = 200_000

Reply = Message
Steps = Generator[int, None, Message]
"""A request that takes long: yields the elements done so far, returns its reply."""


@dataclass
class _Operation:
    """A request under way that is answered when it has run in slices."""

    inbound: Inbound
    opclass: OpClass
    steps: Steps
    done: int = 0


class VirtualMcu:
    """Bytes in, bytes out, and a chip below; what a board's firmware does, on integer codes.

    The caller hands over what came in (`receive`), sends what is to go out (`transmit`), and calls
    `work` again and again: each call does a bounded slice of whatever takes long.
    """

    def __init__(
        self,
        chip: VirtualChip,
        *,
        clock: Callable[[], float] = time.monotonic,
        limits: m.Limits = NEW_BOARD,
        commissioning: bool = False,
        bad_frames_per_second: int = BAD_FRAMES_PER_SECOND,
    ) -> None:
        self.chip = chip
        self.commissioning = commissioning
        self._clock = clock
        self._born = clock()
        self._stored_limits = limits
        self._session = DeviceSession(secrets.randbits(32))
        self._storm = BadFrameWatch(bad_frames_per_second, since=self._born)
        self._staging = Staging(STAGING_BYTES)
        self._result = ResultBuffer(RESULT_BYTES)
        self._lease = Lease()
        self._fault = Fault.NONE
        self._read_only = False
        self._operation: _Operation | None = None
        self._jobs = Jobs()
        self._pulser = Pulser(chip)
        self._enforce(limits)
        self._handlers: dict[type[Request[Any]], Callable[[Any], Reply | Steps]] = {
            m.Hello: self._hello,
            m.GetInfo: self._get_info,
            m.GetLimits: self._get_limits,
            m.TightenLimits: self._tighten_limits,
            m.GetState: self._get_state,
            m.Arm: self._arm,
            m.ClearFault: self._clear_fault,
            m.Safe: self._safe,
            m.Stage: self._stage,
            m.Fetch: self._fetch,
            m.ReadCells: self._read_cells,
            m.Multiply: self._multiply,
            m.GetBook: self._get_book,
            m.Wait: self._wait,
            m.Pulse: self._pulse,
            m.PulseMap: self._pulse_map,
            m.StartProgram: self._start_program,
            m.GetJob: self._get_job,
            m.StopJob: self._stop_job,
            m.OpenReport: self._open_report,
            m.GetPlanted: self._get_planted,
        }

    # The line

    def receive(self, data: bytes) -> None:
        """Take in bytes from the host and execute what they ask; what takes long is left to `work`."""
        now = self._clock()
        self._watch_lease(now)
        self._serve(data, now)
        if self._storm.storm(self._session.bad_frames, now):
            self._make_safe(Fault.BAD_FRAME_STORM)

    def transmit(self) -> bytes:
        """The bytes to send to the host."""
        return self._session.transmit()

    def work(self) -> float | None:
        """Do a slice of what is under way; seconds until the next call is due, None if only bytes matter."""
        now = self._clock()
        self._watch_lease(now)
        if self._operation is not None:
            self._continue_operation(self._operation)
        elif self._jobs.running:
            self._continue_job()
        self._serve(b"", now)
        if self._operation is not None or self._jobs.running:
            return 0.0
        return self._lease.left(now)

    def power_down(self) -> None:
        """Bring the chip to its safe state, as before the supply goes."""
        self._make_safe(Fault.NONE)

    def _serve(self, data: bytes, now: float) -> None:
        for inbound in self._session.receive(data, now):
            self._execute(inbound)
        if self._session.last_traffic_s == now:
            self._lease.refresh(now)

    def _execute(self, inbound: Inbound) -> None:
        request = m.REQUEST_BY_OPCODE.get(inbound.opcode)
        if request is None:
            self._refuse(inbound, Refused(Status.UNKNOWN_OPCODE, f"no request {inbound.opcode:#04x}"))
            return
        try:
            outcome = self._handlers[request](request.unpack(inbound.payload))
        except WireError as error:
            self._refuse(inbound, Refused(Status.BAD_MESSAGE, str(error)))
        except Refused as refusal:
            self._refuse(inbound, refusal)
        except Exception as error:
            self._fail(inbound, request.CLASS, error)
        else:
            if isinstance(outcome, Message):
                self._session.reply(inbound, outcome)
            else:
                self._operation = _Operation(inbound, request.CLASS, outcome)

    def _refuse(self, inbound: Inbound, refusal: Refused) -> None:
        answer = m.Refusal(refusal.executed, refusal.done, refusal.reason)
        self._session.reply(inbound, answer, refusal.status)

    def _fail(self, inbound: Inbound, opclass: OpClass, error: Exception) -> None:
        """Our own bug: the board lives on; what may have left an output on is made safe."""
        _log.exception("request %#04x failed", inbound.opcode)
        executed = Executed.NO
        if opclass is OpClass.EFFECT:
            executed = Executed.PARTIAL
            self._make_safe(Fault.INTERNAL)
        self._refuse(inbound, Refused(Status.INTERNAL, repr(error), executed=executed))

    def _continue_operation(self, operation: _Operation) -> None:
        try:
            operation.done = next(operation.steps)
        except StopIteration as end:
            self._operation = None
            self._session.reply(operation.inbound, end.value)
        except Exception as error:
            self._operation = None
            self._fail(operation.inbound, operation.opclass, error)

    def _continue_job(self) -> None:
        try:
            self._jobs.step()
        except Exception:
            _log.exception("job %d failed", self._jobs.last_id)
            self._make_safe(Fault.INTERNAL)

    # Safety

    def _watch_lease(self, now: float) -> None:
        if self._lease.left(now) != 0.0:
            return
        if self._jobs.running or (self._operation and self._operation.opclass is OpClass.EFFECT):
            self._make_safe(Fault.LEASE_LAPSED)
        else:
            self._lease.drop()

    def _make_safe(self, fault: Fault) -> None:
        """Zero the outputs, end what uses them, drop the lease; latch `fault` if there is one."""
        for rail in (Rail.VP_PAD, Rail.TVDD):
            self.chip.set_rail(rail, GROUND_CODE)
        self.chip.power_down()
        self._lease.drop()
        self._fault = self._fault or fault
        self._end_operation(fault)
        self._jobs.abort(fault)

    def _forget_operation(self) -> None:
        if self._operation is not None:
            self._operation.steps.close()
            self._operation = None

    def _end_operation(self, fault: Fault) -> None:
        operation = self._operation
        if operation is None:
            return
        self._forget_operation()
        partial = operation.done and operation.opclass is OpClass.EFFECT
        executed = Executed.PARTIAL if partial else Executed.NO
        status = Status.FAULT if fault is not Fault.NONE else Status.NOT_ARMED
        reason = f"ended by {fault.name}" if fault is not Fault.NONE else "ended by a request for safety"
        self._refuse(operation.inbound, Refused(status, reason, executed=executed, done=operation.done))

    def _admit(self, request: Request[Any]) -> None:
        """Refuse what the board's state does not permit."""
        if request.CLASS is OpClass.EFFECT and self._read_only:
            raise Refused(Status.READ_ONLY, "message layouts differ: this session may only read")
        if request.CLASS is OpClass.EFFECT and self._fault is not Fault.NONE:
            raise Refused(Status.FAULT, f"{self._fault.name} is latched; clear it first")
        if self._jobs.running:
            raise Refused(Status.BUSY, f"job {self._jobs.last_id} is running")
        if self.chip.rail(Rail.TVDD) == GROUND_CODE:
            self.chip.power_up()

    def _admit_pulses(self, request: Request[Any]) -> None:
        self._admit(request)
        if not self._lease.armed:
            raise Refused(Status.NOT_ARMED, "pulses need an armed lease")

    @property
    def _rules(self) -> PulseRules:
        return PulseRules(self._limits, self.chip.parameters.timing)

    # Session and identity

    def _hello(self, request: m.Hello) -> Reply:
        if request.protocol_major != m.PROTOCOL_MAJOR:
            reason = f"board speaks protocol {m.PROTOCOL_MAJOR}, host {request.protocol_major}"
            raise Refused(Status.VERSION_MISMATCH, reason)
        self._read_only = request.schema_hash != m.SCHEMA_HASH
        self._enforce(self._stored_limits)
        self._lease.orphan()
        self._forget_operation()
        self._staging.clear()
        self._result.clear()
        return m.Welcome(
            protocol_major=m.PROTOCOL_MAJOR,
            protocol_minor=m.PROTOCOL_MINOR,
            schema_hash=m.SCHEMA_HASH,
            boot_id=self._session.boot_id,
            reset_cause=ResetCause.POWER_ON,
            window=self._session.window,
            frame_bytes=min(request.frame_bytes, m.MAX_PAYLOAD),
            staging_bytes=self._staging.size,
            result_bytes=self._result.size,
            config_crc=crc32c(self._stored_limits.pack()),
            commissioning=int(self.commissioning),
            firmware="sim_chip 0.1.0",
            board="virtual",
            serial=self.chip.parameters.name,
        )

    def _get_info(self, _: m.GetInfo) -> Reply:
        parameters = self.chip.parameters
        converters = parameters.converters
        gains = converters.gain_ohms
        return m.Info(
            arrays=parameters.arrays,
            rows=parameters.rows,
            cols=parameters.cols,
            input_bits=1,
            dac_bits=_DAC_BITS,
            dac_min_uv=_DAC_SPAN_UV[0],
            dac_max_uv=_DAC_SPAN_UV[1],
            adc_bits=(converters.adc_codes - 1).bit_length(),
            adc_min_uv=converters.floor_uv,
            adc_max_uv=converters.floor_uv + converters.span_uv,
            zero_codes=converters.zero_codes,
            read_uv=_READ_UV,
            tick_ns=parameters.timing.timer_step_ns,
            gain_ohms=gains + (0,) * (8 - len(gains)),
        )

    def _get_limits(self, _: m.GetLimits) -> Reply:
        return self._limits

    def _tighten_limits(self, request: m.TightenLimits) -> Reply:
        self._enforce(tightened(self._limits, request))
        return self._limits

    def _enforce(self, limits: m.Limits) -> None:
        self._limits = limits
        self._pulser.pulses_per_second = limits.pulses_per_second

    def _get_state(self, _: m.GetState) -> Reply:
        return self._state()

    def _arm(self, request: m.Arm) -> Reply:
        if self._fault is not Fault.NONE:
            raise Refused(Status.FAULT, f"{self._fault.name} is latched; clear it first")
        check_range("ttl_ms", request.ttl_ms, MIN_TTL_MS, MAX_TTL_MS)
        self._lease.arm(request.ttl_ms / 1000, self._clock())
        return self._state()

    def _clear_fault(self, request: m.ClearFault) -> Reply:
        if request.fault != self._fault:
            raise Refused(Status.BAD_ARGUMENT, f"the latched fault is {self._fault} ({self._fault.name})")
        self._fault = Fault.NONE
        return self._state()

    def _safe(self, _: m.Safe) -> Reply:
        self._make_safe(Fault.NONE)
        return self._state()

    def _state(self) -> m.State:
        now = self._clock()
        return m.State(
            armed=int(self._lease.armed),
            lease_ms=int(1000 * (self._lease.left(now) or 0)),
            fault=self._fault,
            job_id=self._jobs.last_id,
            job_state=self._jobs.last_state,
            total_pulses=self._pulser.total,
            uptime_ms=int(1000 * (now - self._born)),
            bad_frames=self._session.bad_frames,
        )

    # Bulk data

    def _stage(self, request: m.Stage) -> Reply:
        return m.Staged(self._staging.put(request.offset, request.data))

    def _fetch(self, request: m.Fetch) -> Reply:
        return self._result.chunk(request.offset, request.length)

    # Reading

    def _read_cells(self, request: m.ReadCells) -> Steps:
        self._admit(request)
        check_read(request, self.chip)
        return self._into_result(read_cells(self.chip, request))

    def _multiply(self, request: m.Multiply) -> Steps:
        self._admit(request)
        check_multiply(request, self.chip)
        rows = self.chip.parameters.rows
        self._result.check_fits(request.vectors * request.col_count * 5)
        staged = self._staging.take(2 * request.vectors * rows, request.staged_crc)
        return self._into_result(multiply(self.chip, request, vectors(request, staged, rows)))

    def _into_result(self, reading: Generator[int, None, bytes]) -> Steps:
        return self._result.fill((yield from reading))

    def _get_book(self, _: m.GetBook) -> Reply:
        chip = self.chip
        return m.Book(
            clock_ns=chip.clock_ns,
            energy_fj=(*(int(aj) // 1000 for aj in chip.book.energy_aj), 0, 0),
            reads=chip.book.reads,
            products=chip.book.products,
            set_pulses=chip.book.set_pulses,
            reset_pulses=chip.book.reset_pulses,
        )

    def _get_planted(self, request: m.GetPlanted) -> Reply:
        check_range("array", request.array, 0, self.chip.parameters.arrays - 1)
        kinds, conductances = self.chip.planted(request.array)
        return self._result.fill(kinds.tobytes() + conductances.astype("<i4").tobytes())

    def _wait(self, request: m.Wait) -> Reply:
        self._admit(request)
        self.chip.advance(request.duration_ms * 1_000_000)
        return m.Waited(self.chip.clock_ns)

    # Pulses and jobs

    def _pulse(self, request: m.Pulse) -> Steps:
        self._admit_pulses(request)
        return self._pulsed(same_pulse(request, self.chip, self._rules), request.count)

    def _pulse_map(self, request: m.PulseMap) -> Steps:
        self._admit_pulses(request)
        staged = self._staging.take(4 * self.chip.parameters.devices, request.staged_crc)
        return self._pulsed(mapped_pulses(request, self.chip, self._rules, staged), 1)

    def _pulsed(self, batch: PulseBatch, count: int) -> Steps:
        pulses = yield from self._pulser.give_in_slices(batch, count)
        return m.Pulsed(pulses, self._pulser.total)

    def _start_program(self, request: m.StartProgram) -> Reply:
        if not self._jobs.knows(request.job_id):
            self._admit_pulses(request)
            check_plan(request, self.chip, self._rules)
            shape = self.chip.parameters
            staged = self._staging.take(staged_bytes(shape.devices), request.staged_crc)
            program = Program(request, shape, staged)
            self._jobs.start(program, program.rounds(self.chip, self._pulser.give))
        return m.Started(request.job_id)

    def _get_job(self, request: m.GetJob) -> Reply:
        return self._jobs.find(request.job_id).progress()

    def _stop_job(self, request: m.StopJob) -> Reply:
        program = self._jobs.find(request.job_id)
        program.stop_wanted = True
        return program.progress()

    def _open_report(self, request: m.OpenReport) -> Reply:
        program = self._jobs.find(request.job_id)
        if program.state is JobState.RUNNING:
            raise Refused(Status.BUSY, f"job {request.job_id} is running")
        return self._result.fill(program.report())
