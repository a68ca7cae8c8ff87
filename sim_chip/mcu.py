"""The virtual chip's microcontroller: executes the requests of `firmware_protocol.messages`."""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from crc32c import crc32c

from firmware_protocol import messages as m
from firmware_protocol.device_session import DeviceSession, Inbound
from firmware_protocol.status import Executed, Fault, ResetCause, Status
from firmware_protocol.wire import Message, OpClass, WireError
from sim_chip.chip import VirtualChip
from sim_chip.firmware import Firmware, Handlers, Reply, Steps
from sim_chip.guard import MAX_TTL_MS, MIN_TTL_MS, NEW_BOARD, BadFrameWatch, Permits, Refused, check_range

_log = logging.getLogger(__name__)

BAD_FRAMES_PER_SECOND: Final = 5000
"""Rate at which a line is given up: well above a bad cable at full USB speed, below a jammed one."""


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
        self.commissioning = commissioning
        self._clock = clock
        self._born = clock()
        self._session = DeviceSession(secrets.randbits(32))
        self._storm = BadFrameWatch(bad_frames_per_second, since=self._born)
        self._permits = Permits()
        self._firmware = Firmware(chip, self._permits, limits)
        self._operation: _Operation | None = None
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
        elif self._firmware.jobs.running:
            self._continue_job()
        self._serve(b"", now)
        if self._operation is not None or self._firmware.jobs.running:
            return 0.0
        return self._permits.lease.left(now)

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
            self._firmware.jobs.step()
        except Exception:
            _log.exception("job %d failed", self._firmware.jobs.last_id)
            self._make_safe(Fault.INTERNAL)

    # Safety

    def _watch_lease(self, now: float) -> None:
        if self._permits.lease.left(now) != 0.0:
            return
        if self._firmware.jobs.running or (self._operation and self._operation.opclass is OpClass.EFFECT):
            self._make_safe(Fault.LEASE_LAPSED)
        else:
            self._permits.lease.drop()

    def _make_safe(self, fault: Fault) -> None:
        """Zero the outputs, end what uses them, drop the lease; latch `fault` if there is one."""
        self._firmware.zero_outputs()
        self._permits.lease.drop()
        self._permits.fault = self._permits.fault or fault
        self._end_operation(fault)
        self._firmware.jobs.abort(fault)

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

    # Session and identity

    def _hello(self, request: m.Hello) -> Reply:
        if request.protocol_major != m.PROTOCOL_MAJOR:
            reason = f"board speaks protocol {m.PROTOCOL_MAJOR}, host {request.protocol_major}"
            raise Refused(Status.VERSION_MISMATCH, reason)
        self._permits.read_only = request.schema_hash != m.SCHEMA_HASH
        self._permits.lease.orphan()
        self._forget_operation()
        self._firmware.forget_session()
        return m.Welcome(
            protocol_major=m.PROTOCOL_MAJOR,
            protocol_minor=m.PROTOCOL_MINOR,
            schema_hash=m.SCHEMA_HASH,
            boot_id=self._session.boot_id,
            reset_cause=ResetCause.POWER_ON,
            window=self._session.window,
            frame_bytes=min(request.frame_bytes, m.MAX_PAYLOAD),
            staging_bytes=self._firmware.staging.size,
            result_bytes=self._firmware.result.size,
            config_crc=crc32c(self._firmware.stored_limits.pack()),
            commissioning=int(self.commissioning),
            firmware="sim_chip 0.1.0",
            board="virtual chip",
            serial=f"{self.chip.parameters.name}-{self.chip.seed}",
        )

    def _arm(self, request: m.Arm) -> Reply:
        self._permits.check_fault()
        check_range("ttl_ms", request.ttl_ms, MIN_TTL_MS, MAX_TTL_MS)
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
        )
