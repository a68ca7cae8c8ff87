"""What write-and-verify asks of a board: a schedule and targets, checked and in codes."""

import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chipctl.chip import Chip, Siemens
from chipctl.converters import SPAN
from chipctl.gate_law import GateLaw
from chipctl.reset_law import ResetLaw
from chipctl.schedules import PulseSchedule, Ramp
from firmware_protocol import bulk
from firmware_protocol.jobs import Order
from firmware_protocol.messages import RESET, SET, StartProgram
from firmware_protocol.write_verify import ladders

_ORDERS = {"rows": Order.ROWS, "spread": Order.SPREAD}


@dataclass(frozen=True)
class Plan:
    """One write-and-verify of an array in codes, as both a board and the host's own loop take it."""

    request: StartProgram
    staged: bytes


def plan_of(
    chip: Chip, array: int, target: Siemens, mask: NDArray[np.bool_], schedule: PulseSchedule
) -> Plan:
    """The plan for the devices in `mask`, under a new job number. Shapes (rows, cols).

    Raises:
        ValueError: A target, voltage or width is outside what the chip takes.
    """
    request = request_of(chip, array, schedule)
    sums = _target_sums(chip, array, np.where(mask, target, 0.0), schedule)
    expected = _expected_sums(chip, request, schedule) if schedule.predicts else None
    return Plan(request, bulk.pack_plan(mask, sums, expected))


def check_targets(chip: Chip, array: int, target: Siemens, mask: NDArray[np.bool_]) -> None:
    """Refuse targets that the chip cannot be brought to.

    Raises:
        ValueError: Wrong shape, no number, or outside 0 to 150 µS.
    """
    shape = (chip.rows, chip.cols)
    if not 0 <= array < chip.arrays:
        raise ValueError(f"no array {array}: this chip has arrays 0 to {chip.arrays - 1}")
    for name, given in (("targets", target), ("mask", mask)):
        if given.shape != shape:
            wanted = f"an array has {shape[0]} rows and {shape[1]} columns"
            raise ValueError(f"{name} of shape {given.shape}; {wanted}")
    chosen = target[mask]
    if not np.all((chosen >= 0) & (chosen <= SPAN * (1 + 1e-9))):
        bad = np.argwhere(mask & ~((target >= 0) & (target <= SPAN * (1 + 1e-9))))[0]
        raise ValueError(
            f"target {target[tuple(bad)] * 1e6:.4g} µS at row {bad[0]}, column {bad[1]} is outside "
            f"0 to {SPAN * 1e6:.0f} µS (targets are in siemens)"
        )


def check_schedule(chip: Chip, schedule: PulseSchedule) -> None:
    """Refuse a policy whose pulses the board would refuse.

    Raises:
        ValueError: A voltage, width or number of pulses is above the board's limits; nothing was sent.
    """
    request_of(chip, 0, schedule)


def request_of(chip: Chip, array: int, schedule: PulseSchedule) -> StartProgram:
    """The schedule in codes, under a new job number; nothing is sent."""
    s = schedule
    chip.rules.check_pulses_per_device(s.max_rounds)
    for width in (s.set_width, s.reset_width):
        chip.check_width(round(width * 1e9))
    set_volts, set_gates = _ramp_codes(chip, SET, s.set_volts, s.set_gate_volts)
    reset_volts, reset_gates = _ramp_codes(chip, RESET, s.reset_volts, s.reset_gate_volts)
    per_code = chip.readout.lsb_siemens(s.gain) / s.reads
    return StartProgram(
        secrets.randbelow(2**32 - 1) + 1,
        array,
        s.gain,
        s.reads,
        s.max_retries,
        s.max_rounds,
        int(s.inner_tolerance / per_code),
        int(s.tolerance / per_code),
        *set_volts,
        *set_gates,
        round(s.set_width * 1e9),
        *reset_volts,
        *reset_gates,
        round(s.reset_width * 1e9),
        int(s.predicts),
        s.set_short,
        _ORDERS[s.order],
        0,
    )


def _ramp_codes(
    chip: Chip, direction: int, volts: Ramp, gates: Ramp
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """(first, last, step) in codes of a voltage ramp and of its gate ramp."""
    ends = [volts.first, volts.last], [gates.first, gates.last]
    volt_codes, gate_codes = chip.pulse_codes(direction, *ends)
    lsb = chip.dac.lsb_volts
    return (
        (int(volt_codes[0]), int(volt_codes[1]), max(1, round(volts.step / lsb))),
        (int(gate_codes[0]), int(gate_codes[1]), max(1, round(gates.step / lsb))),
    )


def _target_sums(chip: Chip, array: int, target: Siemens, schedule: PulseSchedule) -> NDArray[np.int64]:
    """The sums of codes to bring devices at `target` to, shape (rows, cols)."""
    aim = target - schedule.zero_aim * np.clip(1 - target / schedule.inner_tolerance, 0, 1)
    codes = chip.columns(array).codes(aim * chip.readout.read_volts, schedule.gain)
    sums = np.rint(codes * schedule.reads).astype(np.int64)
    most = chip.readout.full_scale * schedule.reads
    if np.any(sums >= most):
        raise ValueError(f"gain index {schedule.gain} does not resolve {target.max() * 1e6:.0f} µS")
    return np.maximum(sums, 0)


def _expected_sums(chip: Chip, request: StartProgram, schedule: PulseSchedule) -> NDArray[np.int64]:
    """The sum of codes that a typical device shows after a pulse of each level: SET, then RESET."""
    found = ladders(request)
    gates, volts = (chip.dac.to_volts(codes) for codes in (found[SET].gate_steps, found[RESET].volt_steps))
    raised = GateLaw.of(chip.profile, request.array).conductance(gates)
    lowered = ResetLaw.of(chip.profile, request.array).conductance(volts, schedule.reset_width)
    siemens = np.concatenate([raised, lowered])
    codes = siemens / chip.readout.lsb_siemens(request.gain) + chip.readout.zero_codes
    most = chip.readout.full_scale * request.reads
    return np.clip(np.rint(codes * request.reads), 0, most).astype(np.int64)
