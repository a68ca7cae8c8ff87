"""What a status means to the host."""

import pytest

from firmware_protocol.status import Status, advice


@pytest.mark.parametrize("status", Status)
def test_every_status_says_who_must_act_and_whether_to_ask_again(status):
    found = advice(status)
    assert found.who
    assert found.retry in ("same-seq", "new-seq", "new-session", "never")


@pytest.mark.parametrize(
    ("status", "retry"),
    [
        (Status.BAD_FRAME, "same-seq"),
        (Status.OUT_OF_ORDER, "same-seq"),
        (Status.STALE, "never"),
        (Status.NO_SESSION, "new-session"),
        (Status.DISCARDED, "new-seq"),
        (Status.OVER_LIMIT, "never"),
        (Status.NOT_ARMED, "new-seq"),
        (Status.ABORTED, "new-seq"),
    ],
)
def test_only_what_the_board_has_not_accepted_is_sent_again_under_its_number(status, retry):
    assert advice(status).retry == retry
