"""How a person names rows and columns: `3`, `0:8`, `:`."""

from chipctl.board import Region


def region_of(rows: str, cols: str, most_rows: int, most_cols: int) -> Region:
    """The rectangle of `rows` and `cols` in an array of that many.

    Raises:
        ValueError: No range, or not inside the array.
    """
    (row, row_end), (col, col_end) = _span(rows, most_rows), _span(cols, most_cols)
    return Region(row, row_end - row, col, col_end - col)


def _span(text: str, most: int) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    try:
        start = int(first or 0)
        end = int(last or most) if colon else start + 1
    except ValueError:
        raise ValueError(f"a range is written A:B, like 0:8, not {text!r}") from None
    if not 0 <= start < end <= most:
        raise ValueError(f"the range {text!r} is not inside 0:{most}")
    return start, end
