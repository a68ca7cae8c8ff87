"""`chipctl safe`: outputs to zero, whoever has the port."""

from pathlib import Path
from typing import Any

import serial
import typer

from chipctl import doorbell
from chipctl.cli.options import AsJson, ChipAddress
from chipctl.cli.screen import print_json, remark
from chipctl.errors import LinkTimeout
from chipctl.link import Link
from chipctl.ownership import Holder, holder, take_over
from chipctl.transport import DEFAULT_BAUD, WRITE_TIMEOUT_S, open_transport

_TRIES, _TRY_S = 20, 0.05


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(safe)


def safe(chip: ChipAddress, as_json: AsJson = False) -> None:
    """Zero the chip's outputs and end any job, also while another process has the port.

    The owner of the port is asked first; if it does not answer in 150 ms, the port is taken over.
    """
    path = Path(chip.partition("?")[0])
    owner = holder(path) if path.is_absolute() else None
    facts = _alone(chip) if owner is None else _beside(path, owner)
    if as_json:
        print_json(facts)
    else:
        remark(f"the board's outputs are zeroed ({facts['by']})")


def _alone(address: str) -> dict[str, Any]:
    link = Link(open_transport(address))
    try:
        link.safe()
    finally:
        link.close()
    return {"safe": True, "by": "this process"}


def _beside(path: Path, owner: Holder) -> dict[str, Any]:
    answer = doorbell.ask(owner.socket, "safe", doorbell.ANSWER_S)
    if answer is not None and answer.get("safe"):
        return {"safe": True, "by": f"the port's owner, process {owner.pid}"}
    take_over(path)
    remark(f"process {owner.pid} does not answer: taking {path} over")
    call = doorbell.SafeCall()
    with serial.Serial(str(path), DEFAULT_BAUD, timeout=_TRY_S, write_timeout=WRITE_TIMEOUT_S) as port:
        for _ in range(_TRIES):
            port.write(call.data)
            call.hear(port.read(1) + port.read(port.in_waiting))
            if call.wait(0):
                return {"safe": True, "by": f"taking over from process {owner.pid}"}
    raise LinkTimeout(f"{path}: the board did not confirm its safe state; switch off its supply")
