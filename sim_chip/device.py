"""One 1T1M memristor: how pulses move it, how it fluctuates and how it relaxes.

Conductances here are float64 in µS, voltages in V; the chip keeps integers of 10 pS and rounds
what it gets back. Everything is elementwise over devices and uses only operations with one
possible rounding, so results do not depend on machine or batching.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sim_chip import random
from sim_chip.elementary import exp, ln, log10
from sim_chip.parameters import (
    ChipParameters,
    FluctuationParameters,
    RelaxationParameters,
    Spread,
    SwitchingParameters,
    WearParameters,
)
from sim_chip.random import Purpose

Floats = NDArray[np.float64]

UNITS_PER_US = 100_000  # conductance unit of the chip state: 10 pS
READ_GATE_VOLTS = 5.0


class Direction(IntEnum):
    """RESET lowers, SET raises conductance."""

    RESET = 0
    SET = 1


class Kind(IntEnum):
    """Whether a device follows pulses, and if not, where it is stuck."""

    HEALTHY = 0
    STUCK_ON = 1
    STUCK_OFF = 2
    STUCK_MIDDLE = 3


@dataclass(frozen=True)
class DeviceTraits:
    """What makes each device different, drawn once from the chip seed; all shape (devices,)."""

    threshold: Floats  # V
    transconductance: Floats  # µA/V² (so that I / V is in µS)
    compliance_volts: Floats  # V
    set_threshold: Floats  # V
    off_gap: Floats  # V
    reset_reference: Floats  # V
    reset_steepness: Floats  # 1/V
    noisiness: Floats  # standard normal
    start_us: Floats  # µS

    def of(self, devices: NDArray[np.intp]) -> DeviceTraits:
        """Return the traits of the chosen devices (n,)."""
        return DeviceTraits(*(getattr(self, name).take(devices) for name in _TRAITS))


_TRAITS = tuple(DeviceTraits.__dataclass_fields__)


def draw_traits(parameters: ChipParameters, seed: int, array: int) -> DeviceTraits:
    """Draw the devices of one array; three hashes a device."""
    model = parameters.switching
    counters = np.arange(parameters.devices, dtype=np.uint64)
    first, second, third = (
        random.normals(random.words(random.stream(seed, purpose, array), counters)).T
        for purpose in (Purpose.DEVICE_A, Purpose.DEVICE_B, Purpose.DEVICE_C)
    )

    def additive(spread: Spread, normal: Floats) -> Floats:
        return spread.nominal + spread.sigma * normal

    def relative(spread: Spread, normal: Floats) -> Floats:
        return spread.nominal * exp(spread.sigma * normal)

    return DeviceTraits(
        threshold=additive(model.threshold, first[0]),
        transconductance=1e6 * relative(model.transconductance, first[1]),
        compliance_volts=additive(model.compliance_volts, first[2]),
        set_threshold=additive(model.set_threshold, first[3]),
        off_gap=np.maximum(additive(model.off_gap, second[0]), model.off_gap_floor),
        reset_reference=additive(model.reset_reference, second[1]),
        reset_steepness=relative(model.reset_steepness, second[2]),
        noisiness=np.ascontiguousarray(second[3]),
        start_us=np.maximum(exp(additive(model.start_ln_us, third[0])), model.floor_us),
    )


def slowed(model: SwitchingParameters, traits: DeviceTraits, slow: NDArray[np.bool_]) -> DeviceTraits:
    """Make the chosen devices hard to RESET, as a tail of bench devices is (assumed size)."""
    return replace(
        traits,
        reset_reference=traits.reset_reference + np.where(slow, model.slow_volts, 0.0),
        reset_steepness=traits.reset_steepness / np.where(slow, model.slow_factor, 1.0),
    )


@dataclass(frozen=True)
class Fates:
    """How each device ends, drawn once from the chip seed; both shape (devices,)."""

    endurance: Floats  # pulses
    freeable: NDArray[np.bool_]  # a stuck-on one lets go at a strong RESET


def draw_fates(parameters: ChipParameters, seed: int, array: int) -> Fates:
    """Draw the fates of one array's devices."""
    counters = np.arange(parameters.devices, dtype=np.uint64)
    drawn = random.words(random.stream(seed, Purpose.FATE, array), counters)
    life = parameters.wear.endurance
    return Fates(
        endurance=life.nominal * exp(life.sigma * random.normal(drawn, 0)),
        freeable=random.uniform(drawn) < parameters.overdrive.freed_share,
    )


def worn(model: WearParameters, traits: DeviceTraits, pulses: NDArray[np.integer]) -> DeviceTraits:
    """Return the traits of devices (n,) that had that many pulses: thresholds rise."""
    decades_past = log10(np.maximum(pulses / model.onset, 1.0))
    drift = model.drift_volts * decades_past
    return replace(
        traits,
        set_threshold=traits.set_threshold + drift,
        reset_reference=traits.reset_reference + drift,
    )


def saturation_current(traits: DeviceTraits, device_volts: Floats, gate_volts: Floats) -> Floats:
    """Return the access transistor's current in µA (square law) at its drain voltage."""
    overdrive = np.maximum(gate_volts - traits.threshold, 0.0)
    drain = np.minimum(np.maximum(device_volts, 0.0), overdrive)
    return traits.transconductance * (overdrive * drain - 0.5 * (drain * drain))


@lru_cache
def decades(width_ns: int) -> float:
    """Pulse width in decades above 1 µs."""
    return float(log10(width_ns / 1000.0))


@lru_cache
def _knee_span(model: SwitchingParameters) -> float:
    """ln of the knee over the lowest conductance."""
    return float(ln(model.knee_us / model.floor_us))


@dataclass(frozen=True)
class Pulse:
    """Pulses, one per device: amplitude and gate in V, width in ns."""

    volts: Floats
    gate_volts: Floats
    width_ns: int


def after_set(
    model: SwitchingParameters, traits: DeviceTraits, us: Floats, pulse: Pulse, normal: Floats
) -> Floats:
    """Return the conductances (µS) after one SET pulse each; SET never lowers.

    The equilibrium is the transistor's compliance, current over compliance voltage. The
    threshold rises for devices below the knee, in proportion to ln G.
    """
    drain = pulse.volts - traits.compliance_volts
    bound = saturation_current(traits, drain, pulse.gate_volts) / traits.compliance_volts
    bound = np.maximum(bound, 1e-6)
    jitter = model.set_jitter * np.sqrt(50.0 / bound)
    jitter = np.minimum(np.maximum(jitter, 0.02), 0.25)
    if model.set_jitter == 0.0:
        jitter = np.zeros_like(bound)
    target = bound * exp(jitter * normal)
    depth = ln(model.knee_us / np.maximum(us, 1e-6)) / _knee_span(model)
    off = np.minimum(np.maximum(depth, 0.0), 1.0)
    threshold = (traits.set_threshold + traits.off_gap * off) - (
        model.set_width_shift * decades(pulse.width_ns)
    )
    excess = np.maximum(pulse.volts - threshold, 0.0)
    fraction = 1.0 - exp(excess / -model.set_softness)
    return np.where(target > us, us + fraction * (target - us), us)


def after_reset(
    model: SwitchingParameters, traits: DeviceTraits, us: Floats, pulse: Pulse, normal: Floats
) -> Floats:
    """Return the conductances (µS) after one RESET pulse each; RESET never raises.

    The device sees the pulse through a series resistance, which is what makes RESET gradual:
    the lower G, the more of the voltage falls on it. A gate below 5 V limits the current.
    """
    across = pulse.volts / (1.0 + us * (model.reset_ohms * 1e-6))
    if pulse.gate_volts.min() < READ_GATE_VOLTS - 0.01:
        limit = saturation_current(traits, pulse.volts, pulse.gate_volts) / np.maximum(us, 1e-6)
        weak = pulse.gate_volts < READ_GATE_VOLTS - 0.01
        across = np.where(weak, np.minimum(across, limit), across)
    drive = (across - traits.reset_reference) + model.reset_width_shift * decades(pulse.width_ns)
    target = (model.reset_us * exp(-traits.reset_steepness * drive)) * exp(model.reset_jitter * normal)
    moved = np.maximum(us + model.reset_fraction * (target - us), model.floor_us)
    return np.where(target < us, np.minimum(moved, us), us)


def pulse_current(model: SwitchingParameters, traits: DeviceTraits, us: Floats, pulse: Pulse) -> Floats:
    """Return the current (µA) during a pulse: ohmic, limited by the access transistor."""
    ohmic = pulse.volts * us / (1.0 + us * (model.reset_ohms * 1e-6))
    return np.minimum(ohmic, saturation_current(traits, pulse.volts, pulse.gate_volts))


def fluctuation_us(model: FluctuationParameters, us: Floats, noisiness: Floats) -> Floats:
    """Return the standard deviation (µS) of one read of each device."""
    if not model.on:
        return np.zeros_like(us)
    bounded = np.minimum(np.maximum(us, 1e-5), model.saturation_us)
    spread = exp((model.slope * ln(bounded) + model.offset) + model.spread * noisiness)
    return np.minimum(spread, model.ceiling_us)


def has_telegraph(model: FluctuationParameters, noisiness: Floats) -> NDArray[np.bool_]:
    """Return which devices jump between two levels."""
    if not (model.on and model.telegraph_share > 0.0):
        return np.zeros(noisiness.shape, dtype=np.bool_)
    return noisiness > model.telegraph_noisiness


def telegraph_level(
    model: FluctuationParameters, key: int, devices: NDArray[np.intp], now_ns: NDArray[np.int64]
) -> Floats:
    """Return the level, -1 or 1, of jumping devices at simulated times; shapes broadcast."""
    octave = (random.words(key, devices.astype(np.uint64)) >> np.uint64(61)).astype(np.int64)
    stay = (now_ns // model.telegraph_ns) >> octave
    # Stays count from 1 in the upper half: the octave's own draw stays apart
    counters = ((stay.astype(np.uint64) + np.uint64(1)) << np.uint64(16)) | devices.astype(np.uint64)
    return np.where(random.words(key, counters) >> np.uint64(63) > 0, 1.0, -1.0)


def with_telegraph(model: FluctuationParameters, sigma: Floats, normal: Floats, level: Floats) -> Floats:
    """Return deviations of jumping devices: a level and white noise of the same total variance."""
    share = model.telegraph_share
    return np.asarray(sigma * (level * float(np.sqrt(share)) + normal * float(np.sqrt(1.0 - share))))


def relaxation_us(model: RelaxationParameters, us: Floats) -> Floats:
    """Return the standard deviation (µS) of relaxation 100 s after the last pulse."""
    if model.flat_us is not None:
        return np.where((us > 20.0) & (us < 80.0), model.middle_us, model.flat_us)
    offset = (us - 50.0) / 25.0
    return model.wide_us * np.minimum(us / 10.0, 1.0) + model.bump_us * exp(-(offset * offset))


def relaxation_scale(model: RelaxationParameters, age_ns: NDArray[np.int64]) -> Floats:
    """Return how far relaxation has come: 1 at 100 s, 0 before the law's first second."""
    seconds = np.maximum(age_ns, 1).astype(np.float64) / 1e9
    scale = np.clip(model.at_one_second + model.per_decade * log10(seconds), 0.0, model.ceiling)
    return np.where(age_ns >= model.onset_ns, scale, 0.0)
