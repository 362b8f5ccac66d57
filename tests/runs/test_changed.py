"""Code that is edited is seen, or a sentence says that Python must be restarted."""

import os
import shutil
import subprocess
import sys

from processes import ROOT

HEAD = """
import sys
import data_tools, sweep, wave
from tinyae.experiment import Experiment
from tinyae.training import Training

data = data_tools.load_sample()
images = data.train_images[:64], data.test_images[:8]
"""
FILES = {  # a reader's own; the first is named like one of Python's
    "wave.py": """
import helper
SIGMA = 0.1
def add(images, rng):
    from inside import more
    return images + helper.shift() + more + SIGMA
""",
    "helper.py": "from deeper import shift",
    "deeper.py": "def shift(): return 0.1",
    "inside.py": "more = 0.1",
}
TRAIN = """
experiments = {"one": Experiment(corruption=wave.add, epochs=1)}
for _, training in sweep.train_all(experiments, images, n_jobs=1):
    print(training.history == Training(training.experiment).run(*images).history)
    print(training.history)
"""


def python(folder, code, root=ROOT):
    """Return what the code prints, run in a folder with a reader's own modules."""
    for name, text in FILES.items():
        if not (folder / name).exists():
            (folder / name).write_text(text)
    path = os.pathsep.join(map(str, (root, root / "lessons")))
    variables = {"PYTHONPATH": path, "TINYAE_CACHE": str(folder / "cache")}
    variables["PYTHONDONTWRITEBYTECODE"] = "1"  # edits within a second are not noticed
    command = [sys.executable, "-c", HEAD + code]
    environment = os.environ | variables
    return subprocess.check_output(command, cwd=folder, env=environment, text=True)


def test_the_next_process_sees_an_edit_in_any_module(tmp_path):
    first = python(tmp_path, TRAIN)
    assert python(tmp_path, TRAIN) == first and first.startswith("True\n[")
    found = {first}
    for name in ("wave.py", "deeper.py", "inside.py"):
        path = tmp_path / name
        path.write_text(path.read_text().replace("0.1", "0.2"))
        *said, right, history = python(tmp_path, TRAIN).splitlines()
        assert "computed by other code; starting over" in said[0] and right == "True"
        found.add(history)
    assert len(found) == 4


LIVING = """
import importlib, pathlib
import tinyae.losses
from joblib.externals.loky import get_reusable_executor

def attempt(seeds, epochs=1):
    "Return whether the sweep trains as this process does; None for a SweepError."
    how = {"corruption": wave.add, "epochs": epochs}
    experiments = {seed: Experiment(seed=seed, **how) for seed in seeds}
    try:
        found = dict(sweep.train_all(experiments, images, n_jobs=2))
    except sweep.SweepError:
        return None
    right = {seed: Training(e).run(*images) for seed, e in experiments.items()}
    return all(found[seed].history == right[seed].history for seed in seeds)

def edit(path, old, new):
    path = pathlib.Path(path)
    path.write_text(path.read_text().replace(old, new))

print(attempt([1, 2]))
edit(tinyae.losses.__file__, "# asarray", "# edited")
print(attempt([3, 4]))
edit("wave.py", "0.1", "0.2")
importlib.reload(wave)
print(attempt([5, 6]), attempt([7]))
get_reusable_executor().shutdown()
print(attempt([8, 9]))
"""


def test_a_living_process_is_right_or_raises(tmp_path):
    """Living workers keep what they imported; new ones import what was edited."""
    for name in ("tinyae", "data_tools", "lessons"):
        shutil.copytree(ROOT / name, tmp_path / "copy" / name)
    said = python(tmp_path, LIVING, tmp_path / "copy").split()
    assert said == ["True", "True", "None", "True", "None"]
