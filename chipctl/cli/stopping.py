"""Ctrl-C while devices are being pulsed: once to finish the round and keep all, twice to stop at once."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_STDERR = 2
_SAID = b"\nstopping after this round; Ctrl-C again stops at once\n"


@contextmanager
def finishing_first(idle: Callable[[], bool] = lambda: False) -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C only asks: the function tells whether it did. The second one interrupts.

    So does the first while there is nothing to finish, which `idle` tells.
    """
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        if asked or idle():
            raise KeyboardInterrupt
        asked.append(number)
        os.write(_STDERR, _SAID)  # print may not be called where it may have been interrupted

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)
