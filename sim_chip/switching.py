"""SET and RESET pulses on the devices of a die."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim_chip import device, random
from sim_chip.book import Count, EnergyCause, TimeCause
from sim_chip.converters import dac_volts
from sim_chip.device import UNITS_PER_US, DeviceTraits, Direction, Kind, Pulse
from sim_chip.die import Devices, Die, Floats, Units
from sim_chip.random import Purpose

_STUCK_OFF_UNITS = 1.0 * UNITS_PER_US  # a device stuck off by a pulse lies somewhere below
_WORDS_TO_SHARE = 2.0**-48


@dataclass(frozen=True)
class Codes:
    """Settings of VP_PAD and TVDD for a pulse, scalar or one a device; either 0 skips the device."""

    volts: ArrayLike
    gate: ArrayLike


@dataclass
class _Outcome:
    """Kinds and conductances (10 pS) of pulsed devices (n,) after their pulse."""

    kinds: NDArray[np.uint8]
    units: Units


class Switching:
    """Pulses devices of one die, one after the other."""

    def __init__(self, die: Die) -> None:
        self._die = die

    def pulse(  # noqa: PLR0913 - one pulse is all of these
        self,
        array: int,
        rows: ArrayLike,
        cols: ArrayLike,
        direction: Direction,
        codes: Codes,
        width_ns: int,
        count: int,
    ) -> None:
        """Apply `count` pulses to each device (n,)."""
        die = self._die
        die.checked(array)
        self.check_width(width_ns)
        _, _, devices = die.devices(rows, cols)
        volts, gates = (
            np.broadcast_to(np.asarray(given, dtype=np.int64), devices.shape)
            for given in (codes.volts, codes.gate)
        )
        chosen = np.flatnonzero((volts != 0) & (gates != 0))
        if len(chosen) == 0 or count < 1:
            return
        pulse = Pulse(self.delivered(volts[chosen]), self.delivered(gates[chosen]), width_ns)
        die.settle_devices(array)
        for _ in range(count):
            with die.state.pulsing(array):
                self.once(array, devices[chosen], direction, pulse)

    def check_width(self, width_ns: int) -> None:
        """Refuse a width that no timer makes."""
        timing = self._die.parameters.timing
        short = width_ns <= timing.timer_limit_ns and width_ns % timing.timer_step_ns == 0
        if width_ns <= 0 or not (short or width_ns % 1000 == 0):
            raise ValueError(
                f"a pulse lasts a multiple of {timing.timer_step_ns} ns up to "
                f"{timing.timer_limit_ns} ns, of 1 µs above, not {width_ns} ns"
            )

    def delivered(self, codes: NDArray[np.int64]) -> Floats:
        """Return the voltage that reaches the lines for codes of VP_PAD or TVDD."""
        offset = self._die.parameters.converters.rail_offset_uv / 1e6
        return self._die.supply.delivered(dac_volts(codes) + offset)

    def once(self, array: int, devices: Devices, direction: Direction, pulse: Pulse) -> None:
        """One pulse on each device, within an operation; a change opens a new programming event."""
        die = self._die
        kept = die.state
        before = kept.units[array].take(devices)
        kinds = kept.kinds[array].take(devices)
        counts = kept.pulse_count[array].take(devices)
        drawn = random.words(
            die.peripheries[array].keys[Purpose.PULSE], random.device_counters(devices, counts)
        )
        traits = self._traits(array, devices, counts)
        reached = self._reached(array, devices)
        healthy = (kinds == Kind.HEALTHY) | self._freed(array, devices, direction, pulse, kinds)
        healthy &= reached
        us = before / UNITS_PER_US
        law = device.after_set if direction is Direction.SET else device.after_reset
        after = law(die.parameters.switching, traits, us, pulse, random.normal(drawn, 0))
        units = np.where(healthy, np.rint(after * UNITS_PER_US), before).astype(np.int32)
        outcome = _Outcome(np.where(healthy, Kind.HEALTHY, kinds).astype(np.uint8), units)
        if die.parameters.overdrive.on and direction is Direction.RESET:
            self._stick(outcome, healthy, drawn, pulse)
        if die.parameters.wear.on:
            self._wear_out(outcome, healthy, counts, array, devices)
        self._enter(direction, np.where(reached, us, 0.0), traits, pulse)
        self._leave(array, devices, before, outcome)

    def _leave(self, array: int, devices: Devices, before: Units, outcome: _Outcome) -> None:
        """Write what the pulses have done."""
        die = self._die
        kept = die.state
        kept.pulse_count[array][devices] += np.uint32(1)
        if die.peripheries[array].fates is not None:
            kept.kinds[array][devices] = outcome.kinds
        kept.array_ns[array] = die.clock_ns
        moved = np.flatnonzero(outcome.units != before)
        if len(moved) == 0:
            return
        changed = devices[moved]
        kept.units[array][changed] = outcome.units[moved]
        kept.relaxing[array][changed] = 1
        kept.event_count[array][changed] += np.uint32(1)
        die.versions[array] += 1

    def _traits(self, array: int, devices: Devices, counts: NDArray[np.uint32]) -> DeviceTraits:
        traits = self._die.peripheries[array].traits.of(devices)
        wear = self._die.parameters.wear
        return device.worn(wear, traits, counts) if wear.on else traits

    def _reached(self, array: int, devices: Devices) -> NDArray[np.bool_]:
        """Whether row and column of devices (n,) are connected at all."""
        kept, width = self._die.state, self._die.parameters.cols
        dead = kept.dead_rows[array].take(devices // width) | kept.dead_cols[array].take(devices % width)
        return np.asarray(dead == 0)

    def _freed(
        self, array: int, devices: Devices, direction: Direction, pulse: Pulse, kinds: NDArray[np.uint8]
    ) -> NDArray[np.bool_]:
        """Which stuck-on devices let go at this pulse."""
        model, fates = self._die.parameters.overdrive, self._die.peripheries[array].fates
        if fates is None or not model.on or direction is not Direction.RESET:
            return np.zeros(kinds.shape, dtype=np.bool_)
        strong = (pulse.volts > model.free_volts) & fates.freeable.take(devices)
        return np.asarray((kinds == Kind.STUCK_ON) & strong)

    def _stick(
        self, outcome: _Outcome, healthy: NDArray[np.bool_], drawn: random.Words, pulse: Pulse
    ) -> None:
        """Too strong a RESET leaves some devices off for ever."""
        model = self._die.parameters.overdrive
        # The upper three lanes: the lowest is the pulse's own jitter
        share = (drawn >> np.uint64(16)).astype(np.float64) * _WORDS_TO_SHARE
        stuck = healthy & (pulse.volts > model.stick_volts) & (share < model.stick_share)
        outcome.kinds[stuck] = Kind.STUCK_OFF
        place = share[stuck] / max(model.stick_share, _WORDS_TO_SHARE)
        outcome.units[stuck] = np.rint(place * _STUCK_OFF_UNITS).astype(np.int32)

    def _wear_out(
        self,
        outcome: _Outcome,
        healthy: NDArray[np.bool_],
        counts: NDArray[np.uint32],
        array: int,
        devices: Devices,
    ) -> None:
        """Devices at the end of their endurance stay where this pulse left them."""
        fates = self._die.peripheries[array].fates
        assert fates is not None  # drawn wherever wear is on
        ended = healthy & (outcome.kinds == Kind.HEALTHY) & (counts + 1.0 >= fates.endurance.take(devices))
        outcome.kinds[ended] = Kind.STUCK_MIDDLE

    def _enter(self, direction: Direction, us: Floats, traits: DeviceTraits, pulse: Pulse) -> None:
        """Book pulses: time, count, and V·I·t of each at the conductance it met."""
        die, timing = self._die, self._die.parameters.timing
        setting = direction is Direction.SET
        die.spend(TimeCause.PULSE_SETUP, (timing.pulse_setup_ns + timing.pulse_switch_ns) * len(us))
        die.spend(TimeCause.PULSE, pulse.width_ns * len(us))
        die.state.counts[Count.SET if setting else Count.RESET] += len(us)
        current_ua = device.pulse_current(die.parameters.switching, traits, us, pulse)
        energy_aj = np.rint(np.abs(pulse.volts * current_ua) * (1000.0 * pulse.width_ns))
        die.burn(EnergyCause.SET if setting else EnergyCause.RESET, int(energy_aj.sum()))
