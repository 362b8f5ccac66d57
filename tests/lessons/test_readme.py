"""The code in README runs, and prints what README says."""

import re
from pathlib import Path

from tinyae.gradcheck import check_layer


def test_each_line_of_code_runs(capsys):
    text = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    said = re.search("# prints (.*)", text)[1].split(", ")
    assert capsys.readouterr().out.split()[:3] == said
    assert check_layer(*names["CHECKS"][0])["x"] < 1e-8
