"""The virtual chip's microcontroller: executes the requests of `firmware_protocol.messages`."""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from crc32c import crc32c

from firmware_protocol import messages as m
from firmware_protocol.device_session import DeviceSession, Inbound
from firmware_protocol.jobs import JobState
from firmware_protocol.status import Executed, Fault, ResetCause, Status
from firmware_protocol.wire import Message, OpClass, Request, WireError
from sim_chip.chip import VirtualChip
from sim_chip.converters import fifo_owner
from sim_chip.firmware import Firmware, Handlers, Reply, Steps
from sim_chip.flash import Flash
from sim_chip.guard import MAX_TTL_MS, MIN_TTL_MS, BadFrameWatch, Permits, Refused, check_range
from sim_chip.incidents import Incidents
from sim_chip.limits import LimitStore, provision
from sim_chip.oplog import EffectLog
from sim_chip.pace import RealPace
from sim_chip.supply import Bench, Supply

_log = logging.getLogger(__name__)

BAD_FRAMES_PER_SECOND: Final = 5000
"""Rate at which a line is given up: well above a bad cable at full USB speed, below a jammed one."""


_LOOK_S: Final = 0.05
"""Longest time between two looks at the rails while one is raised."""

_BLIND: Final = (m.Pulse, m.PulseMap)
"""Requests on an array that convert nothing."""

_STATUS_OF: Final = {
    Fault.CONVERTER_TIMEOUT: Status.CONVERTER_TIMEOUT,
    Fault.SUPPLY_OUT_OF_RANGE: Status.SUPPLY_OUT_OF_RANGE,
}
"""With what an operation is answered that such a fault ended; by any other it is `ABORTED`."""


@dataclass
class _Operation:
    """A request under way that is answered when it has run in slices."""

    inbound: Inbound
    request: Request[Any]
    steps: Steps
    done: int = 0

    @property
    def is_effect(self) -> bool:
        """Whether it changes devices or outputs."""
        return self.request.CLASS is OpClass.EFFECT

    @property
    def converts(self) -> int | None:
        """The array whose ADCs it uses."""
        if isinstance(self.request, m.ConvertTestInput):
            return fifo_owner(self.request.adc)[0]
        return None if isinstance(self.request, _BLIND) else getattr(self.request, "array", None)

    @property
    def executed(self) -> Executed:
        """How much was carried out if it ends here."""
        return Executed.PARTIAL if self.done and self.is_effect else Executed.NO


class VirtualMcu:
    """Bytes in, bytes out, and a chip below; what a board's firmware does, on integer codes.

    The caller hands over what came in (`receive`), sends what is to go out (`transmit`), and calls
    `work` again and again: each call does a bounded slice of whatever takes long.

    Making one is the start of a board's processor: the chip and `flash` are as they were left, the outputs
    are zeroed, all else is new.
    """

    def __init__(
        self,
        chip: VirtualChip,
        *,
        flash: Flash | None = None,
        cause: ResetCause = ResetCause.POWER_ON,
        clock: Callable[[], float] = time.monotonic,
        commissioning: bool = False,
        bad_frames_per_second: int = BAD_FRAMES_PER_SECOND,
    ) -> None:
        self._clock = clock
        self._pace: RealPace | None = None
        self._born = clock()
        self._cause = cause
        self.bench = Bench()
        self.incidents: Incidents | None = None
        """What goes wrong around the board, and when."""
        self._incident_s: float | None = None
        flash = flash or provision(Flash())
        self._session = DeviceSession(secrets.randbits(32))
        self._storm = BadFrameWatch(bad_frames_per_second, since=self._born)
        self._permits = Permits(commissioning=commissioning)
        self._supply = Supply(chip, self.bench)
        self._log = EffectLog(
            flash, self._session.boot_id, lambda: chip.book.set_pulses + chip.book.reset_pulses
        )
        self._firmware = Firmware(chip, self._permits, LimitStore(flash), self._supply, self._log)
        self._operation: _Operation | None = None
        self.dropped_bytes = 0
        """To the host, dropped by the line because it was not read; whoever has the line counts them."""
        self._handlers: Handlers = {
            **self._firmware.handlers,
            m.Hello: self._hello,
            m.GetState: lambda _: self._state(),
            m.Arm: self._arm,
            m.ClearFault: self._clear_fault,
            m.Safe: self._safe,
        }

    # The line

    def receive(self, data: bytes) -> None:
        """Take in bytes from the host and execute what they ask; what takes long is left to `work`."""
        now = self._clock()
        self._watch(now)
        self._serve(data, now)
        if self._storm.storm(self._session.bad_frames, self._session.bytes_without, now):
            self._make_safe(Fault.BAD_FRAME_STORM)

    def transmit(self) -> bytes:
        """The bytes to send to the host."""
        return self._session.transmit()

    def work(self) -> float | None:
        """Do a slice of what is under way; seconds until the next call is due, None if only bytes matter."""
        now = self._clock()
        self._watch(now)
        ahead_s = self._pace.ahead_s() if self._pace else 0.0
        if ahead_s > 0 and (self._operation is not None or self._firmware.jobs.running):
            left_s = self._permits.lease.left(now)
            return ahead_s if left_s is None else min(ahead_s, left_s)
        if self._operation is not None:
            self._continue_operation(self._operation)
        elif self._firmware.jobs.running:
            self._continue_job()
        self._serve(b"", now)
        if self._operation is not None or self._firmware.jobs.running:
            return 0.0
        left_s = self._permits.lease.left(now)
        due_s = min(left_s, _LOOK_S) if left_s is not None and self._supply.is_raised else left_s
        return min((s for s in (due_s, self._incident_s) if s is not None), default=None)

    def follow_wall(self) -> None:
        """Tie the chip's clock to the wall's from now on."""
        self._pace = RealPace(self.chip, self._clock)
        self._firmware.pulser.follows_wall = True

    @property
    def chip(self) -> VirtualChip:
        """What the board is on."""
        return self._firmware.chip

    def power_down(self) -> None:
        """Bring the chip to its safe state, as before the supply goes."""
        self._make_safe(Fault.NONE)

    def _serve(self, data: bytes, now: float) -> None:
        for inbound in self._session.receive(data, now):
            self._execute(inbound)
        if self._session.last_traffic_s == now:
            self._permits.lease.refresh(now)

    def _execute(self, inbound: Inbound) -> None:
        request = m.REQUEST_BY_OPCODE.get(inbound.opcode)
        if request is None:
            self._refuse(inbound, Refused(Status.UNKNOWN_OPCODE, f"no request {inbound.opcode:#04x}"))
            return
        try:
            self._permits.check_class(request)
            asked = request.unpack(inbound.payload)
            outcome = self._handlers[request](asked)
            if isinstance(outcome, Message):
                self._session.reply(inbound, outcome)
            else:
                self._begin(_Operation(inbound, asked, outcome))
        except WireError as error:
            self._refuse(inbound, Refused(Status.BAD_MESSAGE, str(error)))
        except Refused as refusal:
            self._refuse(inbound, refusal)
        except Exception as error:
            self._fail(inbound, request.CLASS, error)

    def _begin(self, operation: _Operation) -> None:
        """Write an effect down before anything of it is carried out."""
        if operation.is_effect:
            self._log.open(operation.inbound, operation.request)
        self._operation = operation

    def _refuse(self, inbound: Inbound, refusal: Refused) -> None:
        answer = m.Refusal(refusal.executed, refusal.done, refusal.reason)
        self._session.reply(inbound, answer, refusal.status)

    def _fail(self, inbound: Inbound, opclass: OpClass, error: Exception) -> None:
        """Our own bug: the board lives on; what may have left an output on is made safe."""
        _log.exception("request %#04x failed", inbound.opcode)
        executed = Executed.NO
        if opclass is OpClass.EFFECT:
            executed = Executed.PARTIAL
            self._log.close(executed)
            self._make_safe(Fault.INTERNAL)
        self._refuse(inbound, Refused(Status.INTERNAL, repr(error), executed=executed))

    def _continue_operation(self, operation: _Operation) -> None:
        if operation.converts in self.bench.stopped_arrays:
            self._make_safe(Fault.CONVERTER_TIMEOUT)
            return
        try:
            operation.done = next(operation.steps)
        except StopIteration as end:
            self._operation = None
            if not self._firmware.jobs.running:
                self._log.close(Executed.YES)
            self._answer(operation, end.value)
        except Exception as error:
            self._operation = None
            self._fail(operation.inbound, operation.request.CLASS, error)

    def _answer(self, operation: _Operation, reply: Message) -> None:
        try:
            self._session.reply(operation.inbound, reply)
        except ValueError as error:
            self._fail(operation.inbound, operation.request.CLASS, error)

    def _continue_job(self) -> None:
        jobs = self._firmware.jobs
        if jobs.array in self.bench.stopped_arrays:
            self._make_safe(Fault.CONVERTER_TIMEOUT)
            return
        try:
            jobs.step()
        except Exception:
            _log.exception("job %d failed", jobs.last_id)
            self._make_safe(Fault.INTERNAL)
        if not jobs.running:
            self._firmware.job_over()
            self._log.close(Executed.YES if jobs.last_state is JobState.DONE else Executed.PARTIAL)

    # Safety

    def _watch(self, now: float) -> None:
        """Look at what may go wrong between two requests."""
        if self.incidents:
            self._incident_s = self.incidents.happen(self.bench)
        if self._permits.fault is Fault.NONE and (fault := self._supply.fault()) is not Fault.NONE:
            self._make_safe(fault)
        if self._permits.lease.left(now) != 0.0:
            return
        if self._holds_voltage:
            self._make_safe(Fault.LEASE_LAPSED)
        else:
            self._permits.lease.drop()

    @property
    def _holds_voltage(self) -> bool:
        """Whether something goes on that only a lease permits."""
        acts = self._operation is not None and self._operation.is_effect
        return acts or self._firmware.jobs.needs_lease or self._supply.is_raised

    def _make_safe(self, fault: Fault) -> None:
        """Zero the outputs, end what uses them, drop the lease; latch `fault` if there is one."""
        self._supply.zero()
        self._permits.lease.drop()
        self._permits.fault = self._permits.fault or fault
        self._end_operation(fault)
        if self._firmware.jobs.running:
            self._firmware.jobs.abort(fault)
            self._firmware.job_over()
            self._log.close(Executed.PARTIAL)

    def _forget_operation(self) -> _Operation | None:
        """End what is under way without an answer."""
        operation, self._operation = self._operation, None
        if operation is not None:
            operation.steps.close()
            if operation.is_effect:
                self._log.close(operation.executed)
        return operation

    def _end_operation(self, fault: Fault) -> None:
        operation = self._forget_operation()
        if operation is not None:
            status = _STATUS_OF.get(fault, Status.ABORTED)
            reason = f"ended by {fault.name}" if fault is not Fault.NONE else "ended by a request for safety"
            done = operation.done
            self._refuse(operation.inbound, Refused(status, reason, executed=operation.executed, done=done))

    # Session and identity

    def _hello(self, request: m.Hello) -> Reply:
        if request.protocol_major != m.PROTOCOL_MAJOR:
            reason = f"board speaks protocol {m.PROTOCOL_MAJOR}, host {request.protocol_major}"
            raise Refused(Status.VERSION_MISMATCH, reason)
        self._permits.read_only = request.schema_hash != m.SCHEMA_HASH and not request.force
        self._permits.lease.orphan()
        self._forget_operation()
        self._firmware.forget_session()
        return m.Welcome(
            protocol_major=m.PROTOCOL_MAJOR,
            protocol_minor=m.PROTOCOL_MINOR,
            schema_hash=m.SCHEMA_HASH,
            boot_id=self._session.boot_id,
            reset_cause=self._cause,
            window=self._session.window,
            frame_bytes=min(request.frame_bytes, m.MAX_PAYLOAD),
            staging_bytes=self._firmware.staging.size,
            result_bytes=self._firmware.result.size,
            config_crc=crc32c(self._firmware.limits.stored.pack()),
            commissioning=int(self._permits.commissioning),
            firmware="sim_chip 0.1.0",
            board="virtual chip",
            serial=f"{self.chip.parameters.name}-{self.chip.seed}",
            safes=self._session.safes,
        )

    def _arm(self, request: m.Arm) -> Reply:
        self._permits.check_fault()
        check_range("ttl_ms", request.ttl_ms, MIN_TTL_MS, MAX_TTL_MS)
        if self._permits.lease.is_orphaned and self._holds_voltage:
            raise Refused(Status.BUSY, "what a host that is gone left on ends with its lease")
        self._permits.lease.arm(request.ttl_ms / 1000, self._clock())
        return self._state()

    def _clear_fault(self, request: m.ClearFault) -> Reply:
        latched = self._permits.fault
        if request.fault != latched:
            raise Refused(Status.BAD_ARGUMENT, f"the latched fault is {latched} ({latched.name})")
        self._permits.fault = Fault.NONE
        return self._state()

    def _safe(self, _: m.Safe) -> Reply:
        self._make_safe(Fault.NONE)
        return self._state()

    def _state(self) -> m.State:
        now = self._clock()
        return m.State(
            armed=int(self._permits.lease.armed),
            lease_ms=int(1000 * (self._permits.lease.left(now) or 0)),
            fault=self._permits.fault,
            job_id=self._firmware.jobs.last_id,
            job_state=self._firmware.jobs.last_state,
            total_pulses=self._firmware.pulser.total,
            uptime_ms=int(1000 * (now - self._born)),
            bad_frames=self._session.bad_frames,
            log_lost=int(self._log.lost),
            limits_lost=int(self._firmware.limits.lost),
            safes=self._session.safes,
            dropped_bytes=min(self.dropped_bytes, 0xFFFFFFFF),
        )
