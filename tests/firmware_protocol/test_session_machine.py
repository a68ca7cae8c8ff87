"""Host and board over a line that does anything to any byte: an effect happens once or not at all."""

from itertools import cycle

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from session_bench import HELLO, Board

from firmware_protocol.frame import Frame, Kind, encode
from firmware_protocol.host_session import HostSession, Outcome, State
from firmware_protocol.messages import Safe, Stage, Wait
from firmware_protocol.status import Status

FATE = st.one_of(
    st.just("ok"), st.just("ok"), st.sampled_from(["lost", "late", "late copy", "twice", "cut", "flip"])
)
FATES = st.lists(st.tuples(FATE, st.integers(0, 1000)), min_size=1, max_size=6)


class BadLine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.host, self.board = HostSession(), Board()
        self.now = 0.0
        self.line = {True: [], False: []}
        self.delivered = 0
        self.history = []
        """All that the host ever sent."""
        self.effects = []
        self.unaware = {}
        self.asked_at = {}
        """Boot id and requests for safety, when an effect was asked for."""
        self.ignorant_of = (0, 0)
        """Boot id and number of the last request for safety by another that this host was not told of."""
        self.forbidden = set()
        """Effects asked for while that was so."""
        self.learns = []
        """Own requests, of which the answer tells how often safety was asked for."""
        self.strangers = 0
        self.hellos = 0

    @initialize(slow=st.booleans())
    def begin(self, slow):
        self.board.is_slow = slow
        self.greet()
        self.quiet()

    def greet(self, first=65530, resumes=False):
        self.hellos += 1
        ticket = self.host.hello(HELLO, self.hellos * 40503 % 65536, first, resumes=resumes)
        self.learns += [] if resumes else [ticket]

    @rule(data=st.data())
    def another_asks_for_safety(self, data):
        """Between any two frames, on another way to the board."""
        frames = self.line[True]
        self.line[True], rest = [], frames[data.draw(st.integers(0, len(frames))) :]
        for frame in frames[: len(frames) - len(rest)]:
            self.deliver(True, frame)
        self.strangers += 1
        self.board.feed(encode(Frame(Kind.REQUEST, Safe.OPCODE, 1, self.strangers)), self.now)
        self.line[True] = rest + self.line[True]
        self.ignorant_of = self.board.boot_id, self.board.session.safes

    @property
    def is_ignorant(self):
        """With the board's processor the count of requests for safety begins anew, for whoever resumes."""
        boot_id, safes = self.ignorant_of
        told = [t.request.REPLY.unpack(t.payload) for t in self.learns if t.outcome is Outcome.ANSWERED]
        return boot_id == self.board.boot_id and all(reply.safes < safes for reply in told)

    @rule(refused=st.sampled_from([False, False, False, True]), count=st.integers(1, 12))
    def ask_effects(self, refused, count):
        for _ in range(count):
            number = len(self.effects)
            if refused:
                self.board.refuse.add(number)
            self.unaware[number] = [
                n for n, ticket in enumerate(self.effects) if ticket.outcome is Outcome.OPEN
            ]
            self.asked_at[number] = self.board.boot_id, self.board.session.safes
            if self.is_ignorant:
                self.forbidden.add(number)
            self.effects.append(self.host.submit(Wait(number)))

    @rule(kind=st.sampled_from(["pure", "safe", "withdraw"]), size=st.integers(0, 300))
    def ask_other(self, kind, size):
        if kind == "withdraw":
            self.host.withdraw()
        else:
            ticket = self.host.submit(Stage(0, bytes(size)) if kind == "pure" else Safe())
            self.learns += [ticket] if kind == "safe" else []

    @rule()
    def exchange_well(self):
        self.exchange([("ok", 0)], [("ok", 0)], 0.001, True)

    @rule(there=FATES, back=FATES, seconds=st.sampled_from([0.001, 0.03, 0.3]), works=st.booleans())
    def exchange(self, there, back, seconds, works):
        """Both sides send what they have; each frame, new or held up, meets its fate."""
        self.send(True, self.host.transmit(self.now))
        self.carry(True, there)
        if works:
            self.send(False, self.board.work(self.now))
        self.now += seconds
        self.carry(False, back)

    @rule(
        trouble=st.sampled_from(
            [
                "reset",
                "crash",
                "unplug",
                "greet",
                "resume",
                "stall",
                "noise",
                "echo",
                "reset echo",
                "greet echo",
            ]
        ),
        noise=st.binary(max_size=40),
    )
    def trouble(self, trouble, noise):
        match trouble:
            case "reset":
                self.board.reset()
            case "crash":
                self.board.crashes_next = True
            case "unplug":
                self.line = {True: [], False: []}
            case "greet":
                self.greet()
            case "resume":
                self.greet(resumes=True)
            case "stall":
                self.now += 30
            case "noise":
                self.deliver(True, noise)
                self.deliver(False, noise)
            case "echo":
                self.repeat_what_was_sent()
            case "reset echo":
                self.board.reset()
                self.repeat_what_was_sent()
            case "greet echo":
                self.greet()
                self.exchange_well()
                self.repeat_what_was_sent()

    def repeat_what_was_sent(self):
        """Old frames come once more, as from a buffer somewhere on the way."""
        for frame in self.history[-60:]:
            self.deliver(True, frame)
            self.send(False, self.board.work(self.now))

    def send(self, to_board, data):
        frames = [b"\0" + frame + b"\0" for frame in data.split(b"\0") if frame]
        self.line[to_board] += frames
        if to_board:
            self.history += frames

    def deliver(self, to_board, data):
        self.delivered += 1
        if to_board:
            self.send(False, self.board.feed(data, self.now))
        else:
            self.host.receive(data, self.now)

    def carry(self, to_board, fates):
        frames, self.line[to_board] = self.line[to_board], []
        for frame, (fate, at) in zip(frames, cycle(fates), strict=False):
            if fate in ("late", "late copy"):
                self.line[to_board].append(frame)
            if fate == "cut":
                frame = frame[: at % len(frame)]
            if fate == "flip":
                place = at % len(frame)
                frame = frame[:place] + bytes([frame[place] ^ 1 << at % 8]) + frame[place + 1 :]
            if fate not in ("lost", "late"):
                self.deliver(to_board, frame)
            if fate == "twice":
                self.deliver(to_board, frame)

    @invariant()
    def every_effect_happens_at_most_once(self):
        assert all(count == 1 for count in self.board.executed.values())
        assert self.board.order == sorted(self.board.order)

    @invariant()
    def the_host_is_never_wrong(self):
        for number, ticket in enumerate(self.effects):
            happened = self.board.executed[number]
            if ticket.outcome is Outcome.ANSWERED:
                assert happened == (ticket.status == Status.OK), (number, ticket)
            elif ticket.outcome is Outcome.NOT_SENT:
                assert not happened
            else:
                assert ticket.outcome in (Outcome.OPEN, Outcome.UNKNOWN)

    @invariant()
    def nothing_asked_before_a_request_for_safety_happens_after_it(self):
        for number, then in self.board.executed_at.items():
            assert self.asked_at[number] == then

    @invariant()
    def nobody_goes_on_in_ignorance_of_a_request_for_safety(self):
        assert not any(self.board.executed[number] for number in self.forbidden)

    @invariant()
    def nothing_runs_past_a_refusal_its_author_had_not_seen(self):
        for number, ticket in enumerate(self.effects):
            refused_before = [n for n in self.unaware[number] if self.effects[n].status == Status.OVER_LIMIT]
            if ticket.outcome is Outcome.ANSWERED and refused_before:
                assert ticket.status != Status.OK

    def quiet(self):
        """Let the line be good until the host waits for nothing; bounded."""
        for _ in range(4000):
            before = self.delivered
            self.exchange_well()
            if self.delivered > before:
                continue
            if self.host.next_deadline is None:
                assert self.host.is_idle
                return
            self.now = max(self.now, self.host.next_deadline)
        raise AssertionError("a request has no end")

    def teardown(self):
        self.board.crashes_next = False
        before = self.now
        self.quiet()
        assert self.now - before < 60
        assert all(ticket.outcome is not Outcome.OPEN for ticket in self.effects)
        self.greet()
        self.quiet()
        assert self.host.state is State.OPEN
        self.ask_effects(False, 10)
        self.quiet()
        assert all(ticket.outcome is Outcome.ANSWERED for ticket in self.effects[-10:])
        assert all(self.board.executed[n] == 1 for n in range(len(self.effects) - 10, len(self.effects)))
        self.every_effect_happens_at_most_once()
        self.the_host_is_never_wrong()


BadLine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestBadLine = BadLine.TestCase
