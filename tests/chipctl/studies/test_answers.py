"""Each answer is kept as soon as it is there, and none is asked for twice."""

from dataclasses import dataclass

import pytest

from chipctl.memory.answers import Answer, Answers, measure

asked = []


@dataclass(frozen=True)
class Square:
    number: int

    @property
    def key(self):
        return f"square of {self.number}"

    def answer(self):
        asked.append(self.number)
        if self.number < 0:
            raise KeyboardInterrupt
        return Answer(self, self.number**2, 0.5)


@pytest.fixture(autouse=True)
def _nothing_asked():
    asked.clear()


def squares(*numbers, path):
    return {a.task.number: a.value for a in measure(map(Square, numbers), Answers(path))}


def test_equal_questions_are_asked_once(tmp_path):
    path = tmp_path / "answers.jsonl"
    assert squares(3, 4, 3, path=path) == {3: 9, 4: 16}
    assert asked == [3, 4]


def test_what_was_answered_before_an_interruption_is_not_asked_again(tmp_path):
    path = tmp_path / "answers.jsonl"
    with pytest.raises(KeyboardInterrupt):
        squares(5, 6, -1, 7, path=path)
    assert squares(5, 6, 7, path=path) == {5: 25, 6: 36, 7: 49}
    assert asked == [5, 6, -1, 7]


def test_a_line_cut_short_by_a_kill_is_asked_again_and_the_file_stays_whole(tmp_path):
    path = tmp_path / "answers.jsonl"
    squares(5, 6, path=path)
    path.write_bytes(path.read_bytes()[:-9])
    asked.clear()
    assert squares(5, 6, path=path) == {5: 25, 6: 36}
    assert asked == [6]
    asked.clear()
    assert squares(5, 6, path=path) == {5: 25, 6: 36}
    assert asked == []


def test_answers_of_another_run_are_believed_and_kept_with_the_new_ones(tmp_path):
    squares(8, path=tmp_path / "old.jsonl")
    known = Answers(tmp_path / "new.jsonl")
    known.learn(tmp_path / "old.jsonl")
    asked.clear()
    assert [a.value for a in measure([Square(8), Square(2)], known)] == [64, 4]
    assert asked == [2]
    assert squares(2, 8, path=tmp_path / "new.jsonl") == {2: 4, 8: 64}
    assert asked == [2]
