"""What the README shows works as it stands there."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_python_runs(capsys):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, names)  # our own text
    assert names["amps"].shape == (64,)
    assert names["report"].verified[~names["faults"].stuck].mean() > 0.9
    assert (names["result"].final == names["patterns"]).all()
    assert capsys.readouterr().out == ""
