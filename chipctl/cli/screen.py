"""What a person sees: progress bars and remarks on stderr, results on stdout."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from chipctl.progress import Progress as ProgressShown
from chipctl.progress import Stage

_NUMBER = re.compile(r"[-+±]?[\d.]|-?$")
"""How a number begins, its unit behind it; an empty cell and a dash stand for one that is not known."""

remarks = Console(stderr=True, highlight=False)
results = Console(highlight=False)


def remark(text: str) -> None:
    """One line for the person at the screen, not part of the result."""
    remarks.print(text, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """The result for machines."""
    json.dump(value, sys.stdout, indent=1, allow_nan=False)
    sys.stdout.write("\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout; words stand left, columns of numbers right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        numbers = index > 0 and all(_NUMBER.match(str(row[index])) for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    results.print(table)
    results.print()


class Bars(ProgressShown):
    """A bar per stage, kept on screen when the stage is over."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<40}"),
            BarColumn(bar_width=14),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=remarks,
        )

    @contextmanager
    def shown(self) -> Iterator["Bars"]:
        """Draw while the block runs."""
        with self._bars:
            yield self

    @contextmanager
    def stage(self, label: str, total: float) -> Iterator[Stage]:
        """A new bar named `label`."""
        task = self._bars.add_task(label, total=total or None, note="")

        def tell(done: float, note: str = "") -> None:
            self._bars.update(task, completed=done, note=note)

        yield tell
        self._bars.update(task, total=total or 1, completed=total or 1)
