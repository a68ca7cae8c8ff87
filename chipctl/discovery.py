"""Which ports there are, whether a board answers there, and what the system does to them."""

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serial.tools import list_ports

from chipctl.errors import ChipctlError
from chipctl.link import Link
from chipctl.transport import open_transport

PROBE_S = 0.5
"""Time in which a board answers a hello on any line it can be used on."""

_RULES = Path(__file__).parent / "60-chipctl.rules"
_RULES_FOLDERS = (Path("/etc/udev/rules.d"), Path("/usr/lib/udev/rules.d"), Path("/run/udev/rules.d"))


@dataclass(frozen=True)
class Port:
    """A serial port of this computer, and the board behind it if one answered."""

    device: str
    vid: int | None
    pid: int | None
    serial_number: str | None
    description: str
    board: str | None = None
    chip_serial: str | None = None
    firmware: str | None = None
    trouble: str | None = None
    """Why no board answered."""


def ports(probe: bool = True) -> list[Port]:
    """The serial ports that are there; with `probe`, asked for the board behind them."""
    found = [
        Port(p.device, p.vid, p.pid, p.serial_number, p.description)
        for p in list_ports.comports()
        if p.hwid != "n/a"
    ]
    return [_probed(port) for port in found] if probe else found


def _probed(port: Port) -> Port:
    facts: dict[str, Any] = probe(port.device)
    return Port(port.device, port.vid, port.pid, port.serial_number, port.description, **facts)


def probe(address: str) -> dict[str, Any]:
    """What answers a hello at an address, or why nothing does."""
    try:
        link = Link(open_transport(address))
    except ChipctlError as error:
        return {"trouble": str(error).removeprefix(f"{address} is ").removeprefix(f"{address}: ")}
    try:
        welcome = link.open(within_s=PROBE_S)
    except ChipctlError as error:
        return {"trouble": str(error)}
    finally:
        link.close()
    return {"board": welcome.board, "chip_serial": welcome.serial, "firmware": welcome.firmware}


@dataclass(frozen=True)
class Finding:
    """One thing looked at, how it is, and what to do if it is not good."""

    name: str
    good: bool | None
    """None where it does not apply here."""
    found: str
    remedy: str = ""


def system_findings(device: Path) -> list[Finding]:
    """What permissions, ModemManager and a USB bridge do to a port."""
    return [_permission(device), _modem_manager(), _ftdi_latency(device)]


def _permission(device: Path) -> Finding:
    good = os.access(device, os.R_OK | os.W_OK)
    remedy = f"copy {_RULES} to /etc/udev/rules.d, or sudo usermod -aG dialout $USER, and log in again"
    return Finding(
        "permission", good, "may read and write" if good else "no permission", "" if good else remedy
    )


def _modem_manager() -> Finding:
    if not _runs("ModemManager"):
        return Finding("ModemManager", True, "does not run")
    if any((folder / _RULES.name).exists() for folder in _RULES_FOLDERS):
        return Finding("ModemManager", True, f"runs, and leaves boards alone by {_RULES.name}")
    remedy = f"sudo cp {_RULES} /etc/udev/rules.d/ && sudo udevadm control --reload && plug in again"
    return Finding("ModemManager", False, "runs, and writes to every new serial port", remedy)


def _runs(name: str) -> bool:
    pgrep = shutil.which("pgrep")
    return pgrep is not None and subprocess.run([pgrep, "-x", name], capture_output=True).returncode == 0


def _ftdi_latency(device: Path) -> Finding:
    setting = Path("/sys/class/tty") / device.resolve().name / "device" / "latency_timer"
    with contextlib.suppress(OSError, ValueError):
        milliseconds = int(setting.read_text())
        good = milliseconds <= 1
        remedy = "" if good else f"echo 1 | sudo tee {setting}, or install {_RULES}"
        return Finding("FTDI latency timer", good, f"{milliseconds} ms", remedy)
    return Finding("FTDI latency timer", None, "no FTDI bridge")
