"""`chipctl book`: where the chip's time and energy went."""

from dataclasses import asdict

import typer

from chipctl.cli.options import AsJson, ChipAddress, open_chip
from chipctl.cli.screen import print_json, print_table
from chipctl.settings import Settings


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("book")(book_command)


def book_command(chip: ChipAddress, as_json: AsJson = False) -> None:
    """Print the chip's own clock, its energy by cause, and what it was asked to do since it was powered.

    What the board takes for itself is kept apart from the chip's energy. Changes nothing on the chip.
    """
    with open_chip(chip, Settings()) as opened:
        book = opened.book()
    if as_json:
        print_json(asdict(book) | {"chip_joules": book.chip_joules})
        return
    causes = [(cause, f"{joules * 1e6:.4g}") for cause, joules in book.joules.items()]
    total = ("chip, all of it", f"{book.chip_joules * 1e6:.4g}")
    board = ("board", f"{book.board_joules * 1e6:.4g}" if book.board_joules else "not measured")
    print_table("energy, µJ", ("cause", ""), [*causes, total, board])
    counts = [
        ("chip's clock / s", f"{book.seconds:.6g}"),
        *((f"of it {cause} / s", f"{seconds:.4g}") for cause, seconds in book.spent.items()),
        ("single-device reads", book.reads),
        ("analog products", book.products),
        ("SET pulses", book.set_pulses),
        ("RESET pulses", book.reset_pulses),
    ]
    print_table("time and operations", ("", ""), counts)
