"""What goes wrong around a board while it works, and comes right again."""

import time

from sim_chip.chip import VirtualChip
from sim_chip.faults import FaultPlan, Incident
from sim_chip.rails import NOMINAL_UV
from sim_chip.supply import Bench

_STRAY_CODES = 8192
"""A rail that strays does so by 1.25 V."""


class Incidents:
    """The incidents of a plan, each of which happens once after the board was switched on."""

    def __init__(self, plan: FaultPlan, chip: VirtualChip) -> None:
        self._plan, self._chip = plan, chip
        self._all = plan.brown_outs + plan.stray_rails + plan.stopped_adcs
        self._on_s = time.monotonic()
        self._pulses_before = self._pulses
        self._begun_s: dict[Incident, float] = {}

    def __bool__(self) -> bool:
        return bool(self._all)

    @property
    def _pulses(self) -> int:
        book = self._chip.book
        return book.set_pulses + book.reset_pulses

    def happen(self, bench: Bench) -> float | None:
        """Let what is due happen to the chip and its bench; seconds until the next look, None for ever."""
        now_s, pulses = time.monotonic(), self._pulses - self._pulses_before
        for incident in self._all:
            if pulses >= incident.pulses and now_s >= self._on_s + incident.seconds:
                self._begun_s.setdefault(incident, now_s)
        self._bring_about({i for i, begun_s in self._begun_s.items() if now_s < begun_s + i.lasts}, bench)
        ends = [begun_s + i.lasts for i, begun_s in self._begun_s.items()]
        begins = [self._on_s + i.seconds for i in self._all if i not in self._begun_s]
        return min((max(at_s - now_s, 0.0) for at_s in (*ends, *begins) if at_s > now_s), default=None)

    def _bring_about(self, now: set[Incident], bench: Bench) -> None:
        supplies = [round(i.place * 1e6) for i in self._plan.brown_outs if i in now]
        supply_uv = min(supplies, default=NOMINAL_UV)
        if self._plan.brown_outs and self._chip.supply_uv != supply_uv:
            self._chip.set_supply(supply_uv)
        bench.stray_codes = {round(i.place): _STRAY_CODES for i in self._plan.stray_rails if i in now}
        bench.stopped_arrays = {round(i.place) for i in self._plan.stopped_adcs if i in now}
