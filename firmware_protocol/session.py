"""The rules both ends of a session keep, so that every effect happens at most once.

Naming. A hello carries a random number of the host's, and its own sequence number is random too; board
and host then call the session by the first combined with the board's boot number. A frame of an earlier
boot or another host thus names no living session, whenever it arrives, and a hello that was once
accepted opens nothing a second time.

Order. Requests are numbered from the hello on. The board executes them in that order, each once, and
keeps the last `window` replies; the host has at most `window` requests without a reply. A request that
comes again is answered from those replies. One that comes before its turn is dropped, with a notice.
The line keeps order, so when the answer to a request arrives, whatever was sent before that request and
is still without an answer was lost, or its reply was: the host sends it again. When nothing arrives, it
sends the oldest again after a time-out. No other rule decides what is repeated.

Refusals. Each request says in `ack` which reply was the newest its author knew. After a refusal the
board discards what was asked in ignorance of it; no half of a batch runs past an error.

Size. Each request says in `room` how many payload bytes its reply may have; the board cuts the tail of
a reply that may be cut, and the host cuts the tail of a request that may be cut when it sends it again.
What was cut is asked for anew by offset. So frames shrink while frames keep failing.

Resets. A board that starts anew, or hears another hello, knows no request of the sessions before. It
keeps a log of effects without power, each written down before anything is carried out and once more at
its end. What a host never got an answer to was carried out as far as that log says, and not at all if it
is not in it; if the log is lost the board says so. No effect is sent again to make sure.

At work. A request that comes again while the board has it, but no answer yet, is answered by a notice that
says so. A host that has such a notice knows that the board lives; by asking again it shows that it does.

Safe. A request of class SAFE has no part in any of this: it is always executed, in any state, and the board
counts how often it was asked. Each other request says how many of these its author knew of when it was made;
while that is not the board's own count, nothing that reads, changes or permits anything is executed. So
nothing that was asked before a request for safety happens after it, on whatever way either came. A host
learns of the count when it begins anew, and from the answer to its own request for safety; not otherwise.
"""

WINDOW = 32
"""Requests under way at once, and replies a board keeps, unless it says otherwise."""

SAFES_TOLD = 0x100
"""A request tells the number of requests for safety modulo this; a session ends before it comes round."""

_NUMBERS = 0x10000


def follows(seq: int, steps: int = 1) -> int:
    """The sequence number `steps` after `seq`; they wrap at 16 bits."""
    return (seq + steps) % _NUMBERS


def distance(later: int, earlier: int) -> int:
    """How far `later` is after `earlier`; negative if it is before it."""
    steps = (later - earlier) % _NUMBERS
    return steps if steps < _NUMBERS // 2 else steps - _NUMBERS


def session_name(host_number: int, boot_id: int) -> int:
    """What host and board call the session opened by a hello with `host_number`."""
    return (host_number ^ boot_id ^ (boot_id >> 16)) % _NUMBERS
