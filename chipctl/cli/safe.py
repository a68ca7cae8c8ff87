"""`chipctl safe`: outputs to zero, whoever has the port."""

import contextlib
import os
import select
import termios
import time
from collections.abc import Iterator
from typing import Any

import typer

from chipctl import doorbell
from chipctl.a0_board import SCHEME, A0Board, A0Place
from chipctl.addresses import SerialPlace, serial_place
from chipctl.cli.options import AsJson, ChipAddress
from chipctl.cli.screen import print_json, remark
from chipctl.errors import LinkError, LinkTimeout, PortBusy
from chipctl.link import Link
from chipctl.ownership import A0, Holder, holder, spoken, take_over
from chipctl.transport import open_transport

_GIVE_UP_S = 3.0
_TRY_S, _LOOK_S = 0.05, 0.01
_MOST_BYTES = 65_536


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(safe)


def safe(chip: ChipAddress, as_json: AsJson = False) -> None:
    """Zero the chip's outputs and end any job, also while another process has the port.

    The owner of the port is asked first; if it does not answer in 150 ms, the port is taken over. One that
    cannot be asked, another program's or another user's, is written past. A virtual chip on TCP takes a
    request for safety beside its host; an A0 board takes none beside its host.
    """
    address = SCHEME + chip if _speaks_a0(chip) else chip
    try:
        facts = _made_safe(address)
    except LinkTimeout:
        if address == chip:
            raise
        facts = _made_safe(chip)  # another board than that of the owner who was killed
    if as_json:
        print_json(facts)
    else:
        remark(f"the board's outputs are zeroed ({facts['by']})")


def _made_safe(chip: str) -> dict[str, Any]:
    place = None if chip.startswith(SCHEME) else serial_place(chip)
    owner = None if place is None else holder(place.path)
    try:
        return _alone(chip) if place is None or owner is None else _beside(place, owner)
    except PortBusy as busy:
        if place is None:
            raise PortBusy(f"{busy}; its outputs are zeroed as it ends") from None
        return _past(place, None)


def _speaks_a0(address: str) -> bool:
    """Whether the port's owner, or one that was killed, drives an A0 board there: no native frames for it."""
    place = None if address.startswith(SCHEME) else serial_place(address)
    return place is not None and spoken(place.path) == A0


def _alone(address: str) -> dict[str, Any]:
    if address.startswith(SCHEME):
        with A0Board(A0Place.of(address)).session():  # zeroes them first and last
            return {"safe": True, "by": "this process"}
    link = Link(open_transport(address))
    try:
        link.safe()
    finally:
        link.close()
    return {"safe": True, "by": "this process"}


def _beside(place: SerialPlace, owner: Holder) -> dict[str, Any]:
    answer = doorbell.ask(owner.socket, "safe", doorbell.ANSWER_S)
    if answer is not None and answer.get("safe"):
        return {"safe": True, "by": f"the port's owner, process {owner.pid}"}
    take_over(place.path)
    remark(f"process {owner.pid} does not answer: taking {place.path} over")
    return _past(place, owner)


def _past(place: SerialPlace, owner: Holder | None) -> dict[str, Any]:
    """Say it on a port that somebody else reads as well, until the board's answer is heard by either."""
    call, end_s = doorbell.SafeCall(), time.monotonic() + _GIVE_UP_S
    with _beside_its_owner(place) as line, call.listening_at(None if owner is None else owner.socket):
        while time.monotonic() < end_s:
            with contextlib.suppress(BlockingIOError):
                os.write(line, call.data)
            if _answered(line, call):
                who = "a program that cannot be asked" if owner is None else f"process {owner.pid}"
                return {"safe": True, "by": f"taking over from {who}"}
    raise LinkTimeout(f"{place.path}: the board did not confirm its safe state; switch off its supply")


def _answered(line: int, call: doorbell.SafeCall) -> bool:
    """Whether the board confirms, here or to the owner, before it is asked again."""
    end_s = time.monotonic() + _TRY_S
    while (left_s := end_s - time.monotonic()) > 0:
        if select.select([line], [], [], min(left_s, _LOOK_S))[0]:
            with contextlib.suppress(BlockingIOError):
                call.hear(os.read(line, _MOST_BYTES))
        if call.wait(0):
            return True
    return False


@contextlib.contextmanager
def _beside_its_owner(place: SerialPlace) -> Iterator[int]:
    """A file descriptor of the port, which stays as its owner has set it; what waits to be sent is dropped.

    Raises:
        LinkError: It does not open, or it vanishes.
    """
    place.check()
    try:
        line = os.open(place.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            termios.tcflush(line, termios.TCOFLUSH)
            yield line
        finally:
            os.close(line)
    except (OSError, termios.error) as error:
        raise LinkError(f"{place.path}: {error}; check cable and power, and its permissions") from None
