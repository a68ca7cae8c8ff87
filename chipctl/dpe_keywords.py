"""Keywords that calls of the group's earlier software have not: passed over with a warning, or refused."""

import difflib
import inspect
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

_LIKE: Final = 0.6
_MISSPELT: Final = 0.8
"""Likeness, of 1, from which a keyword is taken for another one misspelt."""


def of(call: Callable[..., Any]) -> list[str]:
    """Keywords that a call names."""
    parameters = inspect.signature(call).parameters.values()
    return [each.name for each in parameters if each.kind is not each.VAR_KEYWORD]


def pass_over(stray: Iterable[str], call: str, known: Sequence[str]) -> None:
    """Warn the caller's caller of keywords that have no effect."""
    for name in stray:
        warnings.warn(f"{call}() takes no notice of {name}{_hint(name, known, _LIKE)}", stacklevel=3)


def refuse(stray: Iterable[str], call: str, known: Sequence[str]) -> None:
    """Raise TypeError, naming the keyword that the first of them is most like."""
    for name in stray:
        raise TypeError(f"{call}() has no keyword {name}{_hint(name, known, _LIKE)}")


def refuse_misspelt(stray: Iterable[str], call: str, known: Sequence[str]) -> None:
    """Raise TypeError for those so like a known keyword that they must be meant for it."""
    refuse([name for name in stray if _hint(name, known, _MISSPELT)], call, known)


def _hint(name: str, known: Sequence[str], likeness: float) -> str:
    plain = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), plain, 1, likeness)
    return f"; did you mean {plain[near[0]]}?" if near else ""
