"""`sim-chip`: a virtual memristor chip behind a port, as if its board were plugged in."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sim_chip.board import Board, Setup
from sim_chip.mcu import BAD_FRAMES_PER_SECOND
from sim_chip.presets import PRESETS
from sim_chip.server import serve_pty, serve_tcp, stop_signals

_app = typer.Typer(
    help="A virtual memristor chip behind a port, as if its board were plugged in.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

_EXAMPLES = """\b
Examples:
  sim-chip serve --pty /tmp/chip                        a chip with few faults, at /tmp/chip
  sim-chip serve --pty /tmp/chip --seed 7               another specimen of the same kind
  sim-chip serve --tcp localhost:7000 --preset poor     a faulty one, at socket://localhost:7000
  sim-chip serve --pty /tmp/chip --state chip.state     one that is the same again next time
  sim-chip serve --pty /tmp/chip --faults faults.npz    one with just these faults
  sim-chip serve --pty /tmp/chip --profile chip.json    a twin of a chip that was calibrated
  sim-chip serve --pty /tmp/chip --board a0             behind the A0 board's own command set
"""
_FAULTS_HELP = (
    "What is wrong with a new chip: kinds, stuck_siemens, noisy, slow (arrays, rows, cols); "
    "dead_rows, dead_cols, dead_adcs, railed_tias (n, 2). What goes wrong while it works: brown_outs, "
    "stray_rails, stopped_adcs (n, 4), each after pulses, seconds, for seconds, at V, rail, array."
)
_CONDUCTANCE_HELP = "Where a new chip's devices start: (arrays, rows, cols) in S, NaN for the kind's own."

_PROFILE_HELP = (
    "Serve a twin of the chip whose calibrated profile this is; the preset stands for what it does not know."
)
_A0_FAULT_HELP = (
    "What is wrong with the A0 board; may be repeated: lost-packet (each batch of 405 loses one and replays "
    "old codes), dropped-reply (a reply asked for before the last one was out is lost), stray-width (407 "
    "takes its width from anywhere)."
)
_READBACK_HELP = "As --conductance, but as read on the original: `chipctl read -o map.npy`."


@_app.command(epilog=_EXAMPLES)
def serve(
    pty: Annotated[Path | None, typer.Option(metavar="PATH", help="Make a serial port at PATH.")] = None,
    tcp: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Listen here; port 0: any.")] = None,
    preset: Annotated[str, typer.Option(metavar="NAME", help="Kind of chip; see `presets`.")] = "good",
    seed: Annotated[int, typer.Option(min=0, help="Which specimen of that kind.")] = 0,
    state: Annotated[Path | None, typer.Option(metavar="FILE", help="Keep the chip in this file.")] = None,
    faults: Annotated[Path | None, typer.Option(metavar="NPZ", help=_FAULTS_HELP)] = None,
    conductance: Annotated[Path | None, typer.Option(metavar="NPY", help=_CONDUCTANCE_HELP)] = None,
    profile: Annotated[Path | None, typer.Option(metavar="JSON", help=_PROFILE_HELP)] = None,
    readback: Annotated[Path | None, typer.Option(metavar="NPY", help=_READBACK_HELP)] = None,
    commission: Annotated[bool, typer.Option("--commission", help="Let stored limits change.")] = False,
    pace: Annotated[
        str, typer.Option(metavar="free|real", help="real: the chip takes its time, as hardware does.")
    ] = "free",
    storm: Annotated[
        int, typer.Option(min=1, help="Bad frames in a second at which the board gives up its line.")
    ] = BAD_FRAMES_PER_SECOND,
    board: Annotated[
        str, typer.Option(metavar="native|a0", help="a0: behind the command set of the A0 board.")
    ] = "native",
    a0_fault: Annotated[list[str] | None, typer.Option(metavar="NAME", help=_A0_FAULT_HELP)] = None,
) -> None:
    """Serve a virtual chip until SIGTERM or Ctrl-C, which leave its outputs at 0 V.

    SIGUSR1 is the board's reset button: its processor starts anew, chip, stored limits and log stay.
    """
    if (pty is None) == (tcp is None):
        raise ValueError("say where to serve: either --pty PATH or --tcp HOST:PORT")
    served = Board(
        Setup(
            preset=preset,
            seed=seed,
            state=state,
            commission=commission,
            faults=faults,
            conductance=conductance,
            profile=profile,
            readback=readback,
            pace=pace,
            storm=storm,
            board=board,
            a0_faults=",".join(a0_fault or ()),
        )
    )
    kind = f"{preset} chip" if profile is None else f"twin of {profile}"
    _serve_until_stopped(served, pty, tcp, f"serving {kind}, seed {seed}")


def _serve_until_stopped(served: Board, pty: Path | None, tcp: str | None, title: str) -> None:
    for source in served.sources:
        typer.echo(source, err=True)

    def ready(place: str) -> None:
        typer.echo(f"{title}, on {place}", err=True)

    with stop_signals() as stop:
        try:
            if pty is not None:
                serve_pty(served, pty, stop, ready)
            elif tcp is not None:
                serve_tcp(served, _host_and_port(tcp), stop, ready)
        finally:
            served.close()


@_app.command()
def presets() -> None:
    """List the kinds of chip there are."""
    for name, kind in PRESETS.items():
        faults = kind.faults
        typer.echo(
            f"{name:12} {kind.arrays} arrays {kind.rows}×{kind.cols}; stuck on {faults.on:.1%}, "
            f"off {faults.off:.1%}, between {faults.middle:.1%}"
        )


def _host_and_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 0xFFFF:
        raise ValueError(f"{text!r} is not HOST:PORT, for instance localhost:7000")
    return host.strip("[]") or "localhost", int(port)


def run() -> None:
    """Run the command line; what the user can mend ends in one line and exit status 1."""
    try:
        _app()
    except (ValueError, OSError) as error:
        typer.echo(f"sim-chip: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    run()
