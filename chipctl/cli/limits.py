"""`chipctl limits`: what no pulse and no rail may exceed, and the changing of it."""

from dataclasses import replace
from typing import Annotated, Any

import typer

from chipctl.chip import Chip
from chipctl.cli.options import AsJson, ChipAddress, open_chip
from chipctl.cli.screen import print_json, print_table, remark
from chipctl.settings import Settings
from firmware_protocol.messages import Limits
from firmware_protocol.rails import Rail

_VOLTS = {"set_volts": "set_code", "reset_volts": "reset_code", "gate_volts": "gate_code"}
_COUNTS = ("pulses_per_device", "pulses_per_second")
_ENDS = {"low": "rail_low_codes", "high": "rail_high_codes"}


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("limits")(limits_command)


def limits_command(
    chip: ChipAddress,
    store: Annotated[
        list[str] | None,
        typer.Option("--store", metavar="NAME=VALUE", help="Store this limit; may be given again."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the limits that the board keeps without power, and with --store change them.

    Names are those that are printed: volts, seconds and counts, for instance `--store set_volts=3.0` or
    `--store vp_pad.high=3.2`. The board stores limits in its commissioning state only: set the
    commissioning jumper and switch the board on, or start a virtual one by `sim-chip serve --commission`
    or `sim://?commission=1`; take the jumper off again afterwards. `chipctl info` shows the state. For
    one session limits are tightened by `--config`, without commissioning.
    """
    with open_chip(chip, Settings()) as opened:
        wanted = opened.board.limits
        for text in store or []:
            wanted = _changed(opened, wanted, text)
        if store:
            opened.board.store_limits(wanted)
        facts = _facts(opened, opened.board.limits)
        commissioning = bool(opened.board.welcome.commissioning)
    if as_json:
        print_json({"commissioning": commissioning, "limits": facts})
        return
    print_table("limits / V, s", ("", ""), list(facts.items()))
    if commissioning:
        remark("the board is in its commissioning state: anyone may change these; take the jumper off")


def _facts(chip: Chip, limits: Limits) -> dict[str, Any]:
    def volts(code: int) -> float:
        return round(float(chip.dac.to_volts(code)), 4)

    facts: dict[str, Any] = {name: volts(getattr(limits, code)) for name, code in _VOLTS.items()}
    facts["width_seconds"] = limits.width_ns * 1e-9
    facts |= {name: getattr(limits, name) for name in _COUNTS}
    for rail in Rail:
        facts |= {f"{rail.name.lower()}.{end}": volts(getattr(limits, of)[rail]) for end, of in _ENDS.items()}
    return facts


def _changed(chip: Chip, limits: Limits, text: str) -> Limits:
    """`limits` with one changed.

    Raises:
        ValueError: There is no such limit, or the value is none.
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    rail, _, end = name.partition(".")
    changed: dict[str, Any] = {}
    if equals and name in _VOLTS:
        changed[_VOLTS[name]] = chip.dac.to_code(float(value))
    elif equals and name in _COUNTS:
        changed[name] = int(value)
    elif equals and name == "width_seconds":
        changed["width_ns"] = round(float(value) * 1e9)
    elif equals and end in _ENDS and rail.upper() in Rail.__members__:
        codes = list(getattr(limits, _ENDS[end]))
        codes[Rail[rail.upper()]] = chip.dac.to_code(float(value))
        changed[_ENDS[end]] = tuple(codes)
    if changed:
        return replace(limits, **changed)
    names = ", ".join([*_VOLTS, "width_seconds", *_COUNTS, "RAIL.low", "RAIL.high"])
    raise ValueError(f"a limit is stored as NAME=VALUE, not {text!r}; there are {names}")
