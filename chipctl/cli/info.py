"""`chipctl info`: who the board is, what it has, and what it permits."""

from typing import Any

import typer

from chipctl.chip import Chip
from chipctl.cli.options import AsJson, ChipAddress, open_chip
from chipctl.cli.screen import print_json, print_table
from chipctl.runs.record import ChipIdentity
from chipctl.settings import Settings
from firmware_protocol.status import Fault, ResetCause


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(info)


def info(chip: ChipAddress, as_json: AsJson = False) -> None:
    """Show who the board is, its geometry and converters, its limits and its state."""
    with open_chip(chip, Settings()) as opened:
        facts = describe(opened)
    if as_json:
        print_json(facts)
    else:
        for title, rows in facts.items():
            print_table(title, ("", ""), [(name, _shown(value)) for name, value in rows.items()])


def _shown(value: object) -> object:
    return f"{value:g}" if isinstance(value, float) else value


def describe(chip: Chip) -> dict[str, dict[str, Any]]:
    """Everything the board says of itself, in SI units, by topic."""
    welcome, geometry, limits, state = (
        chip.board.welcome,
        chip.board.info,
        chip.board.limits,
        chip.board.state(),
    )
    return {
        "board": {
            "board": welcome.board,
            "firmware": welcome.firmware,
            "protocol": f"{welcome.protocol_major}.{welcome.protocol_minor}",
            "schema_hash": f"{welcome.schema_hash:08x}",
            "chip_serial": welcome.serial,
            "reset_cause": ResetCause(welcome.reset_cause).name.lower(),
            "commissioning": bool(welcome.commissioning),
        },
        "chip": {
            "arrays": chip.arrays,
            "rows": chip.rows,
            "cols": chip.cols,
            "input_bits": chip.input_bits,
            "read_volts": chip.readout.read_volts,
            "gain_ohms": list(chip.readout.gain_ohms),
            "adc_bits": geometry.adc_bits,
            "dac_bits": geometry.dac_bits,
            "pulse_tick_seconds": geometry.tick_ns * 1e-9,
            "pulse_coarse_tick_seconds": geometry.coarse_tick_ns * 1e-9,
            "pulse_coarse_above_seconds": geometry.fine_width_ns * 1e-9,
        },
        "limits": {
            "set_volts": round(float(chip.dac.to_volts(limits.set_code)), 4),
            "reset_volts": round(float(chip.dac.to_volts(limits.reset_code)), 4),
            "gate_volts": round(float(chip.dac.to_volts(limits.gate_code)), 4),
            "pulse_width_seconds": limits.width_ns * 1e-9,
            "pulses_per_device": limits.pulses_per_device,
            "pulses_per_second": limits.pulses_per_second,
        },
        "state": {
            "armed": bool(state.armed),
            "fault": Fault(state.fault).name.lower(),
            "total_pulses": state.total_pulses,
            "uptime_seconds": state.uptime_ms * 1e-3,
            "bad_frames": state.bad_frames,
            "log_lost": bool(state.log_lost),
            "limits_lost": bool(state.limits_lost),
        },
        **({"not promised by this board": chip.board.unpromised} if chip.board.unpromised else {}),
    }


def identity(address: str, chip: Chip) -> ChipIdentity:
    """The chip as it named itself."""
    board = describe(chip)["board"]
    return ChipIdentity(
        address=address,
        serial=board["chip_serial"],
        board=board["board"],
        firmware=board["firmware"],
        schema_hash=board["schema_hash"],
    )
