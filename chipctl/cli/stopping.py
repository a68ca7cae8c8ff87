"""Ctrl-C while devices are being pulsed: once to finish the round and keep all, twice to stop at once."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chipctl.cli.screen import remark


@contextmanager
def finishing_first() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C only asks: the function tells whether it did. The second one interrupts."""
    asked: list[int] = []
    said: list[str] = []

    def ask(number: int, _frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    def was_asked() -> bool:
        if asked and not said:
            said.append("stopping after this round; Ctrl-C again stops at once")
            remark(said[0])
        return bool(asked)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield was_asked
    finally:
        signal.signal(signal.SIGINT, before)
