"""One rule of the session at a time."""

import pytest
from session_bench import HELLO, Bench, Board, Faults

from firmware_protocol.frame import DELIMITER, Decoder, Frame, Kind, encode
from firmware_protocol.host_session import AT_WORK_S, TRIES, HostSession, Outcome, State
from firmware_protocol.messages import MAX_PAYLOAD, Arm, GetBook, OpenReport, Safe, Stage, TightenLimits, Wait
from firmware_protocol.session import distance, follows
from firmware_protocol.status import Status
from firmware_protocol.wire import layout

OK = [("answered", Status.OK)]


def outcomes(tickets):
    return [(ticket.outcome.value, ticket.status) for ticket in tickets]


@pytest.fixture
def bench():
    bench = Bench()
    bench.open()
    return bench


def request(bench, seq_steps, number, session=None, ack=0):
    """A frame as the host would send it, made by hand."""
    name = bench.host._name if session is None else session
    seq = follows(bench.board.session._expected, seq_steps)
    frame = Frame(Kind.REQUEST, Wait.OPCODE, name, seq, ack or follows(seq, -1), MAX_PAYLOAD)
    return encode(Frame(frame.kind, frame.opcode, name, seq, frame.ack, frame.room, 0, Wait(number).pack()))


def said(data):
    return [(frame.kind, frame.status) for frame in Decoder().feed(data)]


def test_requests_are_answered_in_order(bench):
    tickets = [bench.host.submit(Wait(n)) for n in range(100)]
    assert outcomes(bench.run(*tickets)) == OK * 100
    assert bench.board.order == list(range(100))
    assert bench.host.retransmissions == 0


def test_a_repeated_request_is_answered_from_memory(bench):
    data = request(bench, 0, 5)
    first, again = bench.board.feed(data, 0.0), bench.board.feed(data, 0.0)
    assert first == again
    assert bench.board.executed == {5: 1}
    assert bench.board.session.duplicates == 1


def test_a_request_before_its_turn_is_dropped_with_a_notice(bench):
    assert said(bench.board.feed(request(bench, 1, 5), 0.0)) == [(Kind.NOTICE, Status.OUT_OF_ORDER)]
    assert not bench.board.executed


def test_a_request_older_than_the_kept_replies_is_stale(bench):
    bench.run(*[bench.host.submit(Wait(n)) for n in range(20)])
    assert said(bench.board.feed(request(bench, -9, 1), 0.0)) == [(Kind.NOTICE, Status.STALE)]
    assert said(bench.board.feed(request(bench, -8, 1), 0.0)) == [(Kind.REPLY, Status.OK)]
    assert set(bench.board.executed.values()) == {1}


def test_a_request_under_execution_is_not_executed_again(bench):
    bench.board.is_slow = True
    data = request(bench, 0, 5)
    assert said(bench.board.feed(data + data, 0.0)) == [(Kind.NOTICE, Status.AT_WORK)]
    assert said(bench.board.work(0.0)) == [(Kind.REPLY, Status.OK)]
    assert bench.board.executed == {5: 1}


def test_a_request_of_another_session_is_not_executed(bench):
    data = request(bench, 0, 5, session=bench.host._name ^ 1)
    assert said(bench.board.feed(data, 0.0)) == [(Kind.NOTICE, Status.NO_SESSION)]
    assert not bench.board.executed


def test_a_hello_opens_a_session_only_once():
    board, host = Board(), HostSession()
    host.hello(HELLO, 77, 5)
    hello = host.transmit(0.0)
    host.receive(board.feed(hello, 0.0), 0.0)
    host.submit(Wait(1))
    effect = host.transmit(0.0)
    board.feed(effect, 0.0)
    assert said(board.feed(hello, 0.0)) == [(Kind.REPLY, Status.OK)]
    board.feed(effect, 0.0)
    assert board.executed == {1: 1}


def test_frames_from_before_a_reset_open_and_execute_nothing():
    board, host = Board(), HostSession()
    host.hello(HELLO, 77, 5)
    hello = host.transmit(0.0)
    host.receive(board.feed(hello, 0.0), 0.0)
    host.submit(Wait(1))
    effect = host.transmit(0.0)
    board.feed(effect, 0.0)
    board.reset()
    assert said(board.feed(hello, 0.0)) == [(Kind.REPLY, Status.OK)]
    assert said(board.feed(effect, 0.0)) == [(Kind.NOTICE, Status.NO_SESSION)]
    assert board.executed == {1: 1}


def test_an_older_hello_does_not_end_the_session(bench):
    old = HostSession()
    old.hello(HELLO, 77, 5)
    hello = old.transmit(0.0)
    bench.board.feed(hello, 0.0)
    bench.open_again()
    assert bench.board.feed(hello, 0.0) == b""
    assert outcomes(bench.run(bench.host.submit(Wait(1)))) == OK


def test_what_was_asked_in_ignorance_of_a_refusal_is_discarded(bench):
    bench.board.refuse.add(3)
    tickets = bench.run(*[bench.host.submit(Wait(n)) for n in range(10)])
    statuses = [ticket.status for ticket in tickets]
    assert statuses == [Status.OK] * 3 + [Status.OVER_LIMIT] + [Status.DISCARDED] * 6
    assert outcomes(bench.run(bench.host.submit(Wait(50)))) == OK
    assert bench.board.order == [0, 1, 2, 50]


def test_a_request_lost_behind_a_refusal_is_still_discarded_when_it_comes_again(bench):
    bench.board.refuse.add(0)
    tickets = [bench.host.submit(Wait(0)), bench.host.submit(Wait(1))]
    first, second = [b"\0" + f + b"\0" for f in bench.host.transmit(0.0).split(b"\0") if f]
    bench.host.receive(bench.board.feed(first, 0.0), 0.0)
    assert second
    bench.run(*tickets)
    assert [ticket.status for ticket in tickets] == [Status.OVER_LIMIT, Status.DISCARDED]
    assert not bench.board.executed


def test_the_window_is_a_span_of_numbers_the_board_remembers(bench):
    tickets = [bench.host.submit(Wait(n)) for n in range(30)]
    frames = [b"\0" + f + b"\0" for f in bench.host.transmit(0.0).split(b"\0") if f]
    assert len(frames) == 8
    replies = [bench.board.feed(frame, 0.0) for frame in frames]
    for reply in replies[1:]:
        bench.host.receive(reply, 0.0)
    assert bench.host.unsent == 22
    assert len(Decoder().feed(bench.host.transmit(0.0))) == 1, "only the first is asked again"
    bench.host.receive(replies[0], 0.0)
    assert outcomes(bench.run(*tickets)) == OK * 30


def test_a_lost_reply_is_asked_again_as_soon_as_a_later_one_arrives(bench):
    tickets = [bench.host.submit(Wait(n)) for n in range(4)]
    frames = [b"\0" + f + b"\0" for f in bench.host.transmit(0.0).split(b"\0") if f]
    replies = [bench.board.feed(frame, 0.0) for frame in frames]
    bench.host.receive(replies[0] + replies[2] + replies[3], 0.001)
    bench.host.receive(bench.board.feed(bench.host.transmit(0.001), 0.001), 0.002)
    assert outcomes(tickets) == OK * 4
    assert bench.host.retransmissions == 1


def test_a_reset_leaves_effects_unknown_and_the_rest_known(bench):
    sent = [
        bench.host.submit(Wait(1)),
        bench.host.submit(Stage(0, b"")),
        *map(bench.host.submit, map(Wait, range(9))),
    ]
    bench.host.transmit(bench.now)
    bench.board.reset()
    bench.run(*sent)
    assert [ticket.outcome for ticket in sent[:2]] == [Outcome.UNKNOWN, Outcome.LOST]
    assert sent[-1].outcome is Outcome.NOT_SENT
    assert bench.host.submit(Wait(1)).outcome is Outcome.NOT_SENT
    assert bench.host.state is State.CLOSED


def test_a_dead_board_is_given_up_in_bounded_time(bench):
    bench.faults = Faults(drop=1.0)
    before = bench.now
    ticket = bench.host.submit(Wait(1))
    bench.run(ticket)
    assert ticket.outcome is Outcome.UNKNOWN
    assert bench.host.timed_out
    assert bench.now - before < 20
    assert bench.host.retransmissions == TRIES - 1


def test_an_armed_link_never_waits_longer_than_a_quarter_second(bench):
    bench.faults = Faults(drop=1.0)
    bench.host.armed = True
    bench.host.submit(Wait(1))
    waits = []
    while bench.host.state is State.OPEN:
        before = bench.now
        bench.step()
        waits.append(bench.now - before)
    assert max(waits) <= 0.2500001


def worked_on(bench, ticket, until_s):
    """Let a slow board be at work on what it has; the longest silence of the host's, seconds."""
    silence_s, heard_s = 0.0, bench.now
    while bench.now < until_s and ticket.outcome is Outcome.OPEN:
        bench.host.receive(bench.board.feed(bench.host.transmit(bench.now), bench.now), bench.now)
        bench.now = bench.host.next_deadline or bench.now
        silence_s, heard_s = max(silence_s, bench.now - heard_s), bench.now
    return silence_s


@pytest.mark.parametrize(("armed", "longest_s"), [(True, 0.25), (False, 1.0)])
@pytest.mark.parametrize("expect_s", [0.0, 20.0])
def test_a_board_at_work_is_waited_for_and_hears_its_host_all_the_time(bench, armed, longest_s, expect_s):
    bench.board.is_slow, bench.host.armed = True, armed
    ticket = bench.host.submit(Wait(1), expect_s)
    assert worked_on(bench, ticket, bench.now + 30) <= longest_s + 1e-9
    assert bench.host.size.bytes == MAX_PAYLOAD, "a request that arrived is no frame that failed"
    bench.host.receive(bench.board.work(bench.now), bench.now)
    assert outcomes([ticket]) == OK
    assert bench.board.executed == {1: 1}


def test_a_short_lease_is_kept_while_the_board_is_at_work(bench):
    bench.host.submit(Arm(90))
    ticket = bench.host.submit(Wait(1), 5.0)
    bench.board.is_slow = True
    assert worked_on(bench, ticket, bench.now + 3) < 0.09


def test_a_board_that_says_for_ever_that_it_is_at_work_is_given_up(bench):
    bench.board.is_slow = True
    ticket = bench.host.submit(Wait(1), 5.0)
    before = bench.now
    worked_on(bench, ticket, bench.now + 1000)
    assert ticket.outcome is Outcome.UNKNOWN
    assert AT_WORK_S < bench.now - before < AT_WORK_S + 15


def test_the_host_is_quick_to_repeat_as_soon_as_it_has_asked_for_the_lease(bench):
    bench.host.submit(Arm(2000), 8.0)
    last = bench.host.submit(Wait(1), 8.0)
    silence_s = 0.0
    while last.outcome is Outcome.OPEN:
        bench.host.transmit(bench.now)
        silence_s = max(silence_s, (bench.host.next_deadline or bench.now) - bench.now)
        bench.now = bench.host.next_deadline or bench.now
    assert silence_s <= 0.25 + 1e-9


def test_nothing_that_was_asked_before_a_request_for_safety_happens_after_it(bench):
    tickets = [bench.host.submit(Wait(n)) for n in range(3)]
    late = bench.host.transmit(0.0)
    bench.board.feed(DELIMITER + encode(Frame(Kind.REQUEST, Safe.OPCODE, 7, 7)), 0.0)
    bench.host.receive(bench.board.feed(late, 0.0), 0.0)
    assert [ticket.status for ticket in tickets] == [Status.MADE_SAFE, Status.DISCARDED, Status.DISCARDED]
    assert not bench.board.executed


def test_what_waits_in_the_board_is_refused_when_safety_is_asked_for(bench):
    bench.board.is_slow = True
    tickets = [bench.host.submit(Wait(n)) for n in range(3)]
    bench.board.feed(bench.host.transmit(0.0), 0.0)
    bench.run(bench.host.submit(Safe()))
    bench.board.is_slow = False
    bench.host.receive(bench.board.work(0.0), 0.0)
    bench.run(*tickets)
    assert [ticket.status for ticket in tickets] == [Status.ABORTED, Status.DISCARDED, Status.DISCARDED]
    assert not bench.board.executed


def test_what_waits_in_the_host_is_refused_when_safety_is_asked_for(bench):
    tickets = [bench.host.submit(Wait(n)) for n in range(20)]
    bench.host.transmit(0.0)
    bench.run(bench.host.submit(Safe()))
    bench.run(*tickets)
    assert not bench.board.executed
    assert {ticket.status for ticket in tickets} == {Status.MADE_SAFE, Status.DISCARDED}


def test_who_did_not_ask_for_safety_can_only_look_until_it_begins_anew(bench):
    stranger = HostSession(0x12345678)
    stranger.submit(Safe())
    bench.board.feed(stranger.transmit(0.0), 0.0)
    looking, effect = bench.run(bench.host.submit(Stage(0, b"")), bench.host.submit(Wait(1)))
    assert (looking.status, effect.status) == (Status.OK, Status.MADE_SAFE)
    bench.run(bench.host.hello(HELLO, 5, 5, resumes=True))
    assert bench.run(bench.host.submit(Wait(2)))[0].status == Status.MADE_SAFE
    bench.run(bench.host.hello(HELLO, 6, 6))
    assert outcomes(bench.run(bench.host.submit(Wait(3)))) == OK
    assert bench.board.executed == {3: 1}


def test_who_asked_for_safety_goes_on_whatever_copies_of_it_arrive(bench):
    bench.host.submit(Safe())
    copy = bench.host.transmit(0.0)
    for _ in range(5):
        bench.host.receive(bench.board.feed(copy, 0.0), 0.0)
    assert bench.board.safes == 5, "each of them is carried out"
    assert outcomes(bench.run(bench.host.submit(Wait(1)))) == OK


def test_a_session_ends_before_the_count_of_requests_for_safety_comes_round(bench):
    for n in range(256):
        bench.board.feed(DELIMITER + encode(Frame(Kind.REQUEST, Safe.OPCODE, 7, n)), 0.0)
    ticket = bench.run(bench.host.submit(Wait(1)))[0]
    assert ticket.outcome is Outcome.UNKNOWN
    assert not bench.board.executed


def test_safety_stands_behind_a_tenth_of_a_second_of_a_slow_line_at_most():
    byte_s = 1 / 11_520
    bench = Bench()
    bench.delay_s = 0.01
    bench.open()
    for _ in range(3):
        ticket = bench.host.submit(Stage(0, bytes(100)))
        reply = bench.board.feed(bench.host.transmit(bench.now), bench.now)
        bench.now += (150 + len(reply)) * byte_s
        bench.host.receive(reply, bench.now)
        assert outcomes([ticket]) == OK
    for n in range(20):
        bench.host.submit(Stage(512 * n, bytes(512)))
    assert len(bench.host.transmit(bench.now)) * byte_s < 0.12
    safe = bench.host.submit(Safe())
    data = bench.host.transmit(bench.now)
    assert [frame.opcode for frame in Decoder().feed(data)] == [Safe.OPCODE], "nothing else is put before it"
    assert safe.outcome is Outcome.OPEN


def test_a_host_that_sends_more_than_the_window_is_told_so():
    bench = Bench(board=Board(is_slow=True))
    bench.board.is_slow = False
    bench.open()
    bench.board.is_slow = True
    data = b"".join(request(bench, n, n) for n in range(50))
    notices = said(bench.board.feed(data, 0.0))
    assert notices == [(Kind.NOTICE, Status.OUT_OF_ORDER)] * (50 - bench.board.window)


@pytest.mark.parametrize("asked", [GetBook(), TightenLimits(*[1] * 6, (0,) * 16, (1,) * 16)])
def test_long_frames_that_cannot_be_cut_are_tried_until_one_passes(asked):
    """At 1 bit in 1000 wrong both ways succeed with p = 0.2; of 200 such requests all do with p > 0.99."""
    sizes = [layout(kind).fixed.size for kind in (type(asked), asked.REPLY)]
    frames = [encode(Frame(Kind.REQUEST, 0, 1, 1, payload=bytes(size))) for size in sizes]
    passes = 0.999 ** (8 * sum(map(len, frames)))
    host = HostSession()
    bench = Bench()
    bench.host = host
    bench.open()
    host.submit(asked)
    tries = 0
    while host.state is State.OPEN:
        tries += len(Decoder().feed(host.transmit(bench.now)))
        bench.now = host.next_deadline or bench.now
    assert 200 * (1 - passes) ** tries < 0.01


def test_a_slow_line_is_learned_without_endless_repetition():
    bench = Bench()
    bench.open()
    bench.delay_s = 0.15
    for n in range(40):
        bench.run(bench.host.submit(Wait(n)))
    repeated = bench.host.retransmissions
    for n in range(40, 80):
        bench.run(bench.host.submit(Wait(n)))
    assert bench.host.retransmissions == repeated


def test_safe_is_executed_without_a_session_and_past_a_stuck_one(bench):
    bench.board.is_slow = True
    bench.host.submit(Wait(1))
    bench.board.feed(bench.host.transmit(bench.now), bench.now)
    safe = bench.host.submit(Safe())
    bench.run(safe)
    stranger = HostSession()
    answer = stranger.submit(Safe())
    stranger.receive(bench.board.feed(stranger.transmit(0.0), 0.0), 0.0)
    assert outcomes([safe, answer]) == OK * 2
    assert bench.board.safes == 2
    assert not bench.board.executed


def test_safe_is_given_up_in_bounded_time():
    host = HostSession()
    ticket = host.submit(Safe())
    now = 0.0
    while ticket.outcome is Outcome.OPEN:
        host.transmit(now)
        now = host.next_deadline or now
    assert ticket.outcome is Outcome.LOST
    assert now < 1.0


def test_withdrawn_requests_never_leave(bench):
    tickets = [bench.host.submit(Wait(n)) for n in range(20)]
    bench.host.transmit(bench.now)
    bench.host.withdraw()
    bench.settle()
    assert outcomes(tickets[:8]) == OK * 8
    assert {ticket.outcome for ticket in tickets[8:]} == {Outcome.NOT_SENT}
    assert bench.board.order == list(range(8))


class Interrupting(dict):
    """Ctrl-C right after a request was noted as under way, before anything else of it is done."""

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        raise KeyboardInterrupt


@pytest.mark.parametrize("answered_first", [True, False])
def test_no_number_is_given_twice_when_an_interrupt_comes_in_between(bench, answered_first):
    bench.host._pending = Interrupting()
    bench.host.submit(Wait(1))
    with pytest.raises(KeyboardInterrupt):
        bench.host.transmit(bench.now)
    bench.host._pending = dict(bench.host._pending)
    if answered_first:
        bench.settle()

    tickets = bench.run(*[bench.host.submit(Wait(n)) for n in (2, 3)])

    assert outcomes(tickets) == OK * 2
    assert bench.board.executed == {1: 1, 2: 1, 3: 1}


def test_frames_shrink_while_they_fail_and_grow_again(bench):
    bench.board.result = bytes(1000)
    bench.faults = Faults(flip=1e-3)
    bench.run(*[bench.host.submit(Stage(0, bytes(512))) for _ in range(20)])
    assert bench.host.size.bytes <= 128
    report = bench.host.submit(OpenReport(1))
    bench.run(report)
    assert len(report.payload) <= 128
    bench.faults = Faults()
    bench.run(*[bench.host.submit(Wait(n)) for n in range(200)])
    assert bench.host.size.bytes == MAX_PAYLOAD


def test_a_request_that_does_not_fit_its_message_fails_where_it_is_made(bench):
    with pytest.raises(ValueError, match="Wait"):
        bench.host.submit(Wait(-1))
    with pytest.raises(ValueError, match="bytes"):
        bench.host.submit(Stage(0, bytes(MAX_PAYLOAD)))


def test_sequence_numbers_wrap():
    assert follows(65535) == 0
    assert distance(2, 65534) == 4
    assert distance(65534, 2) == -4


@pytest.mark.parametrize("seed", range(20))
def test_two_hundred_exchanges_succeed_at_twenty_percent_loss_each_way(seed):
    bench = Bench(seed, Faults(drop=0.2, duplicate=0.02, jitter_s=0.005))
    bench.open()
    tickets = []
    for n in range(200):
        tickets.append(bench.host.submit(Wait(n)))
        bench.run(tickets[-1])
    assert outcomes(tickets) == OK * 200
    assert bench.board.order == list(range(200))


@pytest.mark.parametrize("seed", range(20))
def test_a_full_window_succeeds_on_a_line_with_every_fault(seed):
    bench = Bench(seed, Faults(drop=0.1, duplicate=0.1, truncate=0.1, flip=1e-4, jitter_s=0.02))
    bench.open()
    tickets = [bench.host.submit(Wait(n)) for n in range(200)]
    assert outcomes(bench.run(*tickets)) == OK * 200
    assert bench.board.order == list(range(200))
