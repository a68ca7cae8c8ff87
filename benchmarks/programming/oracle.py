"""The fewest pulses: a programmer who knows every device's parameters and sees its true conductance."""

import numpy as np

from benchmarks.programming.bench import ARRAY, Floats, uniform
from chipctl.schedules import named
from sim_chip import Direction, VirtualChip, dac_code, device, preset
from sim_chip.device import UNITS_PER_US, DeviceTraits
from sim_chip.parameters import SwitchingParameters

SHORTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How far below a target SET may aim, in standard deviations of a pulse; the best one counts."""

ROUNDS = 200
SET_VOLTS, MOST_VOLTS, OPEN_GATE, WIDTH_NS = 2.5, 3.0, 5.0, 1000


def pulses(seed: int) -> float:
    """Mean pulses of a device to uniform targets of the array, within the inner tolerance of `fast`.

    Only the chance in each pulse is left to it. It chooses the gate or voltage whose median outcome is where
    it aims, anew for every pulse, at the DAC's own resolution; best over how far short it aims. Targets are
    conductances of the devices themselves.
    """
    return min(_pulses(seed, short) for short in SHORTS)


def _pulses(seed: int, short: float) -> float:
    parameters = preset("good")
    chip = VirtualChip(parameters, seed)
    model, traits = parameters.switching, device.draw_traits(parameters, seed, ARRAY)
    healthy = np.flatnonzero(chip.planted(ARRAY)[0].ravel() == 0)
    target = uniform(seed).ravel() * 1e6
    tolerance, given = named("fast").inner_tolerance * 1e6, 0
    for _ in range(ROUNDS):
        us = chip.conductance_units(ARRAY).ravel() / UNITS_PER_US
        low = healthy[us[healthy] < target[healthy] - tolerance]
        high = healthy[us[healthy] > target[healthy] + tolerance]
        if not low.size + high.size:
            break
        gates = _gates(model, traits.of(low), us[low], target[low], short)
        _pulse(chip, low, Direction.SET, np.full(low.size, SET_VOLTS), gates)
        volts = _volts(model, traits.of(high), us[high], target[high])
        _pulse(chip, high, Direction.RESET, volts, np.full(high.size, OPEN_GATE))
        given += low.size + high.size
    return given / healthy.size


def _gates(
    model: SwitchingParameters, traits: DeviceTraits, us: Floats, target: Floats, short: float
) -> Floats:
    """Gates at which SET takes devices from `us` to a little below `target`, in the median."""
    knee, lowest = np.log(model.knee_us), np.log(model.floor_us)
    off = np.clip((knee - np.log(np.maximum(us, model.floor_us))) / (knee - lowest), 0, 1)
    excess = np.maximum(SET_VOLTS - traits.set_threshold - traits.off_gap * off, 1e-3)
    bound = us + (target - us) / (1 - np.exp(-excess / model.set_softness))
    scatter = np.clip(model.set_jitter * np.sqrt(50 / bound), 0.02, 0.25)
    bound = np.maximum(bound * np.exp(-short * scatter), us)
    return traits.threshold + np.sqrt(2 * bound * traits.compliance_volts / traits.transconductance)


def _volts(model: SwitchingParameters, traits: DeviceTraits, us: Floats, target: Floats) -> Floats:
    """Voltages at which RESET takes devices from `us` to `target`, in the median."""
    rest = np.maximum(us + (target - us) / model.reset_fraction, model.floor_us)
    across = traits.reset_reference - np.log(rest / model.reset_us) / traits.reset_steepness
    return np.minimum(across * (1 + us * model.reset_ohms * 1e-6), MOST_VOLTS)


def _pulse(
    chip: VirtualChip, devices: np.ndarray, direction: Direction, volts: Floats, gates: Floats
) -> None:
    if devices.size:
        codes = [np.array([dac_code(v) for v in part]) for part in (volts, gates)]
        chip.pulse(ARRAY, *np.divmod(devices, 64), direction, *codes, WIDTH_NS)
