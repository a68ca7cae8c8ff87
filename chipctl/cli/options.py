"""Options that several commands share, and the way a command reaches its chip."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from chipctl.chip import Chip, connect
from chipctl.cli.screen import remark
from chipctl.profile import ChipProfile
from chipctl.runs import journaled
from chipctl.runs.journal import Journal
from chipctl.settings import Settings

ChipAddress = Annotated[
    str,
    typer.Option(
        "--chip",
        metavar="ADDRESS",
        envvar="CHIPCTL_CHIP",
        help="Where the chip is: a serial port (/dev/ttyACM0), socket://HOST:PORT, "
        "or a virtual chip in this process (sim://?preset=good&seed=7); a0+ before it where the board there "
        "is an A0 board (a0+/dev/ttyACM0#chip=chip45; see docs/a0-board.md).",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
OnBoard = Annotated[
    bool, typer.Option("--on-board", help="In one job on the board: the same result in fewer round trips.")
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file with [programming], [scan] and [limits]; see docs/settings.md.",
    ),
]
Profile = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        metavar="FILE",
        help="What was measured on this chip (zeros, fault maps): read if it exists, "
        "and written by commands that measure.",
    ),
]
Runs = Annotated[
    Path,
    typer.Option(
        "--runs", metavar="DIR", envvar="CHIPCTL_RUNS", help="Where runs and their journal are kept."
    ),
]
ArrayIndex = Annotated[int, typer.Option("--array", "-a", metavar="N", help="Array index, from 0.")]


@contextmanager
def open_chip(
    address: str,
    settings: Settings,
    profile: Path | None = None,
    journal: tuple[Journal, str] | None = None,
) -> Iterator[Chip]:
    """The chip at `address`, with its profile file if there is one; safe when the block ends.

    The profile is written at once, so that a place where it can't be is found before anything is done. With
    a journal and the name of a run, every pulse is in the journal before it is sent.
    """
    known = ChipProfile.load(profile) if profile and profile.exists() else None
    opened = connect(address, known) if journal is None else journaled.connect(address, *journal, known)
    try:
        with opened as chip:
            chip.tighten(settings.limits)
            if profile:
                chip.profile.save(profile)
            yield chip
    except KeyboardInterrupt:
        remark("the chip's outputs are zeroed")
        raise


@contextmanager
def open_journaled(
    address: str, settings: Settings, profile: Path | None, runs: Path | None, run: str = ""
) -> Iterator[Chip]:
    """As `open_chip`, with the journal under `runs`; without one where nothing is to be pulsed (None)."""
    with ExitStack() as stack:
        journal = None if runs is None else (stack.enter_context(Journal(runs)), run)
        yield stack.enter_context(open_chip(address, settings, profile, journal))
