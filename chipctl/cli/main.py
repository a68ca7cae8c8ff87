"""`chipctl`: the commands and what a failure looks like."""

import os
import signal
import sys
from importlib.metadata import entry_points
from typing import Annotated, Final, cast

import structlog
import typer

from chipctl.cli import (
    adc,
    book,
    demo,
    doctor,
    fault,
    info,
    limits,
    log,
    multiply,
    probe,
    program,
    pulse,
    rails,
    read,
    recall,
    resume,
    runs,
    safe,
    scan,
    self_test,
    study,
    sweep,
    timing,
    trace,
    wait,
)
from chipctl.cli.screen import remark
from chipctl.errors import ChipctlError
from chipctl.runs.log import configure

_USAGE: Final = 2
"""Exit status of wrong words, and of a file that is none."""

_STOPPED: Final = 130
"""Exit status after Ctrl-C, as a shell has it; typer turns the interrupt into this."""

_UsageError = cast(type[typer.BadParameter], typer.BadParameter.__mro__[1])
"""Wrong words on the command line; typer carries its own click, whose errors it does not name."""

app = typer.Typer(
    name="chipctl",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Drive a memristor chip: find its faults, program its arrays, recall stored patterns.\n\n"
    "Results are printed on stdout, remarks on stderr. Try `chipctl demo` first: it runs on a virtual chip.",
)


@app.callback()
def _verbosity(
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Say more on stderr; -vv for everything.")
    ] = 0,
) -> None:
    configure(verbose, echo=remark)


for module in (
    demo,
    info,
    read,
    multiply,
    pulse,
    scan,
    program,
    recall,
    resume,
    runs,
    study,
    sweep,
    rails,
    adc,
    timing,
    probe,
    wait,
    book,
    self_test,
    log,
    fault,
    limits,
    safe,
    trace,
    doctor,
):
    module.declare(app)
for command in sorted(entry_points(group="chipctl.commands"), key=lambda point: point.name):
    command.load()(app)


def run() -> None:
    """Run the command line; every failure is one clear line and an exit status."""
    commands = typer.main.get_command(app)
    trace.offer_recording(commands)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        status = commands(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        status = _STOPPED
    except _UsageError as error:
        error.show()
        status = _USAGE
    except ChipctlError as error:
        status = _failed(error, error.exit_status)
    except (ValueError, OSError) as error:
        status = _failed(error, _USAGE)
    if status == _STOPPED:
        remark("chipctl: stopped")
    sys.exit(status if isinstance(status, int) else 0)


def _interrupt(_number: int, _frame: object) -> None:
    """A closed terminal or a polite kill ends a command as Ctrl-C does: safely, with its run closed."""
    raise KeyboardInterrupt


def _failed(error: Exception, status: int) -> int:
    structlog.get_logger().debug("failed", exc_info=error)
    if os.environ.get("CHIPCTL_DEBUG"):
        raise error
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    remark(f"chipctl: {_words(error)}{notes}")
    return status


def _words(error: Exception) -> str:
    """What went wrong, for a person; the system's own errors name the file and what it says of it."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return (
            f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}; check the path and try again"
        )
    return str(error)
