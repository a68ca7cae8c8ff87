"""`chipctl log`: what was done to the chip lately, as its board wrote it down."""

from typing import Annotated, Any

import typer

from chipctl.cli.options import AsJson, ChipAddress, open_chip
from chipctl.cli.screen import print_json, print_table, remark
from chipctl.settings import Settings
from firmware_protocol.bulk import NO_ARRAY, LoggedEffect
from firmware_protocol.messages import REQUEST_BY_OPCODE


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("log")(log_command)


def log_command(
    chip: ChipAddress,
    most: Annotated[int, typer.Option("--most", "-n", min=1, help="Effects to show, the newest.")] = 64,
    as_json: AsJson = False,
) -> None:
    """Print the effects that the board remembers, oldest first, by whichever host, over resets too.

    An effect that was cut off is `partial`, with the pulses that it gave. Changes nothing on the chip.
    """
    with open_chip(chip, Settings()) as opened:
        log, state = opened.op_log(), opened.board.state()
    effects = [_facts(effect) for effect in log.effects[-most:]]
    if as_json:
        known = {"log_lost": bool(state.log_lost), "knows_all_pulses_since": log.since_pulses}
        print_json({**known, "total_pulses": state.total_pulses, "effects": effects})
        return
    if state.log_lost:
        remark("the board had lost its log when it started: read again all that may have been touched")
    columns = ("number", "what", "executed", "array", "pulses", "total after", "job", "session", "boot")
    print_table(f"effects, of {state.total_pulses} pulses", columns, [_row(facts) for facts in effects])


def _facts(effect: LoggedEffect) -> dict[str, Any]:
    request = REQUEST_BY_OPCODE.get(effect.opcode)
    return {
        "number": effect.number,
        "request": request.__name__ if request else f"{effect.opcode:#04x}",
        "executed": effect.executed.name.lower(),
        "array": None if effect.array == NO_ARRAY else effect.array,
        "pulses": effect.pulses,
        "pulses_after": effect.pulses_after,
        "job_id": effect.job_id or None,
        "session": f"{effect.session:04x}",
        "sequence": effect.seq,
        "boot": f"{effect.boot_id:08x}",
    }


def _row(facts: dict[str, Any]) -> list[object]:
    shown = [value for name, value in facts.items() if name != "sequence"]
    return ["" if value is None else value for value in shown]
