"""`chipctl list` and `chipctl doctor`: where boards are, and what is wrong between here and one."""

from dataclasses import asdict
from statistics import median
from time import perf_counter
from typing import Annotated, Final

import typer

from chipctl.a0_board import SCHEME, A0Board, A0Place
from chipctl.addresses import serial_place
from chipctl.cli.options import AsJson, ChipAddress
from chipctl.cli.screen import print_json, print_table, remark
from chipctl.discovery import Finding, ports, system_findings
from chipctl.errors import ChipctlError
from chipctl.link import Link
from chipctl.transport import open_transport
from firmware_protocol.messages import PROTOCOL_MAJOR, PROTOCOL_MINOR, SCHEMA_HASH, GetState
from firmware_protocol.status import Fault

_ROUND_TRIPS: Final = 100
_SLOW_S: Final = 5e-3
"""Round trip above which a bridge holds bytes back: full-speed USB takes 1 to 2 ms."""

EXIT_UNWELL: Final = 1


def declare(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("list")(list_ports)
    app.command()(doctor)


def list_ports(
    probe: Annotated[bool, typer.Option(help="Ask every port whether a board is there.")] = True,
    as_json: AsJson = False,
) -> None:
    """List the serial ports by vendor, product and serial number, and the boards that answer there."""
    found = ports(probe)
    if as_json:
        print_json([asdict(port) for port in found])
        return
    rows = [
        (p.device, _usb(p.vid, p.pid), p.serial_number or "", p.board or p.trouble or "", p.chip_serial or "")
        for p in found
    ]
    print_table("serial ports", ("port", "vid:pid", "serial", "board", "chip"), rows)
    if not found:
        remark("no serial port here; virtual chips and boards on TCP are not listed: name them with --chip")


def _usb(vid: int | None, pid: int | None) -> str:
    return "" if vid is None or pid is None else f"{vid:04x}:{pid:04x}"


def doctor(chip: ChipAddress, as_json: AsJson = False) -> None:
    """Look at everything between here and a board, and say what to mend; exit status 1 if something is."""
    findings: list[Finding] = []
    try:
        a0_place = A0Place.of(chip) if chip.startswith(SCHEME) else None
        place = serial_place(a0_place.address if a0_place else chip)
        findings += system_findings(place.path) if place is not None and place.path.exists() else []
        if a0_place:
            findings += _a0_findings(a0_place)
        else:
            with Link(open_transport(chip)) as link:
                findings += _line_findings(link)
    except ChipctlError as error:
        findings.append(Finding("board", False, str(error), "see the message"))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        words = {True: "good", False: "MEND", None: "-"}
        rows = [(f.name, words[f.good], f.found, f.remedy) for f in findings]
        print_table(chip, ("", "", "found", "remedy"), rows)
    if any(finding.good is False for finding in findings):
        raise typer.Exit(EXIT_UNWELL)


def _a0_findings(place: A0Place) -> list[Finding]:
    """An A0 board that counts and converts; of its line nothing else can be known."""
    with A0Board(place).session() as board:
        taken = []
        for _ in range(_ROUND_TRIPS):
            start = perf_counter()
            board.convert_test_input(0, 1)
            taken.append(perf_counter() - start)
    slow = median(taken) > _SLOW_S
    found = f"median {median(taken) * 1e3:.2f} ms, longest {max(taken) * 1e3:.2f} ms"
    return [
        Finding("A0 board", True, "answers; outputs zeroed"),
        Finding("round trip", not slow, found, "a bridge or network holds bytes back" if slow else ""),
        Finding("damage on the line", None, "this board's messages have no check sum"),
    ]


def _line_findings(link: Link) -> list[Finding]:
    taken = []
    for _ in range(_ROUND_TRIPS):
        start = perf_counter()
        state = link.request(GetState())
        taken.append(perf_counter() - start)
    statistics = link.statistics
    fault = Fault(state.fault)
    return [
        _versions(link),
        Finding(
            "round trip",
            median(taken) < _SLOW_S,
            f"median {median(taken) * 1e3:.2f} ms, longest {max(taken) * 1e3:.2f} ms",
            "" if median(taken) < _SLOW_S else "lower the latency timer of the bridge, use no hub",
        ),
        _clean("frames sent again", statistics.retransmissions, most=_ROUND_TRIPS // 10),
        _clean("bad frames from the board", statistics.bad_frames),
        _clean("bad frames at the board", state.bad_frames),
        Finding(
            "bytes dropped by the board",
            state.dropped_bytes == 0,
            str(state.dropped_bytes),
            "" if state.dropped_bytes == 0 else "a host stopped reading: end what hangs at the other end",
        ),
        Finding(
            "fault",
            fault is Fault.NONE,
            fault.name.lower(),
            "" if fault is Fault.NONE else "see to its cause; the next program clears what it can",
        ),
    ]


def _versions(link: Link) -> Finding:
    welcome = link.welcome
    theirs = f"{welcome.protocol_major}.{welcome.protocol_minor}, layouts {welcome.schema_hash:08x}"
    ours = f"{PROTOCOL_MAJOR}.{PROTOCOL_MINOR}, layouts {SCHEMA_HASH:08x}"
    same = welcome.schema_hash == SCHEMA_HASH
    remedy = "" if same else f"install the chipctl that fits firmware {welcome.firmware}"
    return Finding("protocol", same, f"board {theirs}; chipctl {ours}", remedy)


def _clean(name: str, count: int, most: int = 0) -> Finding:
    good = count <= most
    return Finding(
        name, good, str(count), "" if good else "use a shorter or better cable, away from the supply"
    )
