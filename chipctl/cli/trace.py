"""`chipctl trace`: what crossed a line, in readable lines; and `--record`, which writes it down."""

from pathlib import Path
from typing import Annotated, Any

import typer

from chipctl.cli.screen import results
from chipctl.recording import described, load, recording


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(trace)


def trace(
    record: Annotated[Path, typer.Argument(metavar="FILE", help="What --record wrote.", exists=True)],
) -> None:
    """Show each frame of a record: time, direction, session, number, message and fields."""
    for moment in load(record):
        results.print(described(moment), markup=False, soft_wrap=True)


def offer_recording(command: Any) -> None:
    """Give every command that opens a chip an option `--record FILE`."""
    for sub in command.commands.values():
        if any(parameter.name == "chip" for parameter in sub.params):
            sub.params.append(_option())


def _option() -> Any:
    """The option as typer makes it for a command of its own."""
    holder = typer.Typer(add_completion=False)
    holder.command()(_recorded)
    return typer.main.get_command(holder).params[0]


def _record(context: typer.Context, path: Path | None) -> None:
    if path:
        context.with_resource(recording(path))


def _recorded(
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="CHIPCTL_RECORD",
            expose_value=False,
            callback=_record,
            help="Write every frame with its time to FILE; `chipctl trace FILE` shows it, "
            "`--chip replay://FILE` answers from it.",
        ),
    ] = None,
) -> None:
    """Hold the option."""
