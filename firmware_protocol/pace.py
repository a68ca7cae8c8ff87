"""How long to wait for an answer and how large to make a frame, learned from the line as it is."""

from math import inf

MIN_TIMEOUT_S = 0.025
MAX_TIMEOUT_S = 1.0
ARMED_TIMEOUT_S = 0.25
"""Longest time-out while high voltage is permitted."""
HELLO_TIMEOUT_S = 0.1

_MISSES_BEFORE_DOUBLING = 2
"""A line that loses frames is not a line that is full: the first misses say nothing about its speed."""

MIN_PIECE_BYTES = 32
"""Payload of the smallest frames: 52 bytes on the wire, of which 2 in 3 survive one bit error in 1000."""
_CLEAN_TO_GROW = 8

FLIGHT_S = 0.1
"""Longest time that the bytes under way take on the line: what a request for safety stands behind."""

_GRAIN_S = 0.005
"""Least margin over the usual round trip."""

_SLOWEST_BYTE_S = 1 / 11_520
"""Of a line at 115 200 baud; one still slower shows itself by answers that come after their time."""

_FASTEST_BYTE_S = 1e-9


class RoundTrip:
    """Time-out for an answer from measured round trips, as in RFC 6298, apart from the time of its bytes."""

    def __init__(self) -> None:
        self.smoothed_s: float | None = None
        self.misses = 0
        """Time-outs since the last answer."""
        self._byte_s = inf
        self._deviation_s = 0.0
        self._base_s = HELLO_TIMEOUT_S

    def timeout_s(self, cap_s: float) -> float:
        """How long to wait now before something is sent again, at most `cap_s`."""
        doublings = max(0, self.misses - _MISSES_BEFORE_DOUBLING)
        return min(self._base_s * (1 << doublings), cap_s)

    def line_s(self, count: int) -> float:
        """Time that so many bytes take on the line, at most; 0 until an answer told."""
        return 0.0 if self._byte_s == inf else self._byte_s * count

    def flight_bytes(self, least: int) -> int:
        """Bytes that may be under way on a line of this speed; never fewer than `least`."""
        return max(least, int(FLIGHT_S / max(self._byte_s, _FASTEST_BYTE_S)))

    def measured(self, seconds: float, own_bytes: int, queued_bytes: int) -> None:
        """Learn from the answer to a request that was sent once only.

        Request and answer had `own_bytes`; before them stood requests of `queued_bytes`.
        """
        self._byte_s = min(seconds / own_bytes, _SLOWEST_BYTE_S, self._byte_s)
        seconds = max(0.0, seconds - self.line_s(own_bytes + queued_bytes))
        if self.smoothed_s is None:
            self.smoothed_s, self._deviation_s = seconds, seconds / 2
        else:
            self._deviation_s += (abs(self.smoothed_s - seconds) - self._deviation_s) / 4
            self.smoothed_s += (seconds - self.smoothed_s) / 8
        self._base_s = max(MIN_TIMEOUT_S, self.smoothed_s + max(4 * self._deviation_s, _GRAIN_S))

    def premature(self) -> None:
        """Learn from a second answer to one request: it was sent again before the first could come."""
        self._base_s = min(2 * self._base_s, MAX_TIMEOUT_S)


class FrameSize:
    """Most payload bytes per frame, both ways: halved when frames fail twice, doubled when all is well."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = most
        self._clean = 0

    def answered(self, sends: int) -> None:
        """Learn from an answer that came after its request was sent `sends` times."""
        self._clean = self._clean + 1 if sends == 1 else 0
        if self._clean >= _CLEAN_TO_GROW:
            self._clean = 0
            self.bytes = min(2 * self.bytes, self.most)

    def failed(self) -> None:
        """Learn from a request that must be sent for the third time or more."""
        self._clean = 0
        self.bytes = max(self.bytes // 2, MIN_PIECE_BYTES)
