"""The board's log of effects: written before anything is carried out, and once more at its end."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from firmware_protocol.bulk import NO_ARRAY, LoggedEffect, OpLog
from firmware_protocol.device_session import Inbound
from firmware_protocol.status import Executed
from firmware_protocol.wire import Request
from sim_chip.flash import Damaged, Flash

EFFECTS_KEPT: Final = 96
"""Effects in the log; the flash holds two records of each, and some to spare."""

_BEGINNING: Final = 0
"""Opcode of the record with which a new log begins; no request has it."""


class EffectLog:
    """The last effects, over resets. At most one is open at a time."""

    def __init__(self, flash: Flash, boot_id: int, pulse_total: Callable[[], int]) -> None:
        """Read the log back; an effect that a reset cut off is closed with what the pulse total says."""
        self._flash = flash
        self._boot_id = boot_id
        self._pulse_total = pulse_total
        self._next_order = 0
        self._effects: dict[int, LoggedEffect] = {}
        self._open = 0
        self.lost = not self._recover()
        """Whether what happened before this start is not in the log although something did."""

    def _recover(self) -> bool:
        total = self._pulse_total()
        try:
            records = self._flash.records()
        except Damaged:
            return self._begin_anew(total, lost=True)
        if not records:
            return self._begin_anew(total, lost=total > 0)
        for order, content in records:
            self._remember(LoggedEffect.unpack(content))
            self._next_order = order + 1
        newest = self._effects[max(self._effects)]
        is_open = newest.executed is Executed.OPEN
        if newest.pulses_after > total or (newest.pulses_after < total and not is_open):
            return self._begin_anew(total, lost=True)
        if is_open:
            self._cut_off(newest, total)
        return True

    def _begin_anew(self, total: int, *, lost: bool) -> bool:
        self._flash.erase_records()
        self._effects.clear()
        self._next_order = 0
        first = LoggedEffect(0, self._boot_id, 0, 0, _BEGINNING, Executed.YES, NO_ARRAY, 0, total, total)
        self._write(first)
        return not lost

    def _cut_off(self, effect: LoggedEffect, total: int) -> None:
        """Pulses show in the total; whether an effect of another kind took place cannot be known."""
        if effect.array != NO_ARRAY:
            executed = Executed.PARTIAL if total > effect.pulses_before else Executed.NO
            self._write(replace(effect, executed=executed, pulses_after=total))

    def _remember(self, effect: LoggedEffect) -> None:
        self._effects[effect.number] = effect
        while len(self._effects) > EFFECTS_KEPT:
            del self._effects[next(iter(self._effects))]

    def _write(self, effect: LoggedEffect) -> None:
        self._flash.append(self._next_order, effect.pack())
        self._next_order += 1
        self._remember(effect)

    @property
    def is_open(self) -> bool:
        """Whether an effect is under way."""
        return self._open != 0

    def open(self, inbound: Inbound, request: Request[Any]) -> None:
        """Write down that an effect begins."""
        total = self._pulse_total()
        self._open = max(self._effects) + 1
        self._write(
            LoggedEffect(
                number=self._open,
                boot_id=self._boot_id,
                session=inbound.session,
                seq=inbound.seq,
                opcode=inbound.opcode,
                executed=Executed.OPEN,
                array=getattr(request, "array", NO_ARRAY),
                job_id=getattr(request, "job_id", 0),
                pulses_before=total,
                pulses_after=total,
            )
        )

    def close(self, executed: Executed) -> None:
        """Write down how the open effect ended, if one is open."""
        if self._open:
            effect = self._effects[self._open]
            self._open = 0
            self._write(replace(effect, executed=executed, pulses_after=self._pulse_total()))

    def knows_job(self, job_id: int) -> bool:
        """Whether a job of this id was begun, in this run of the processor or an earlier one."""
        return any(effect.job_id == job_id for effect in self._effects.values())

    def newest(self, most: int) -> OpLog:
        """The newest `most` effects; one that is open with the pulses it has given so far."""
        effects = list(self._effects.values())
        since = effects[0].pulses_before
        if self._open:
            effects[-1] = replace(effects[-1], pulses_after=self._pulse_total())
        known = [effect for effect in effects if effect.opcode != _BEGINNING]
        return OpLog(since, tuple(known[-most:]) if most else ())
