"""Code that is edited is seen, or a sentence says that Python must be restarted."""

import os
import shutil
import subprocess
import sys

import pytest
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
import helper, os, pathlib
SIGMA = 0.1
def add(images, rng):
    from inside import more
    pathlib.Path(f"{os.getpid()}.process").touch()
    return images + helper.shift() + more + SIGMA
""",
    "helper.py": "from deeper import shift",
    "deeper.py": "def shift(): return 0.1",
    "inside.py": "more = 0.1",
}
TRAIN = """
experiments = {"one": Experiment(corruption=wave.add, epochs=1)}
for _, training in sweep.train_all(experiments, images, n_jobs=1):
    right = Training(training.experiment).run(*images)
    print(training.history == right.history, training.history)
"""


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a reader's own modules."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def python(folder, code, root=ROOT):
    """Return the lines that the code prints, run in a folder."""
    path = map(str, (folder, root, root / "lessons"))
    variables = {"PYTHONPATH": os.pathsep.join(path)}
    variables |= {"TINYAE_CACHE": "new/cache", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", HEAD + code]
    environment = os.environ | variables
    return subprocess.check_output(command, cwd=folder, env=environment, text=True)


def test_the_next_process_sees_an_edit_in_any_module(folder):
    found = {python(folder, TRAIN), python(folder, TRAIN)}
    for name in ("wave.py", "deeper.py", "inside.py"):
        path = folder / name
        path.write_text(path.read_text().replace("0.1", "0.2"))
        found.add(python(folder, TRAIN))
        assert all("True [" in out for out in found)
    assert len(found) == 4
    assert str(found).count("from other code or random numbers; starting over") == 3


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
seed = 10
while len(list(pathlib.Path().glob("*.process"))) < 3:  # until both workers took part
    attempt([seed, seed + 1])
    seed += 2
edit(tinyae.losses.__file__, "# asarray", "# edited")
print(attempt([3, 4]))
edit("wave.py", "0.1", "0.2")
importlib.reload(wave)
print(attempt([5, 6]), attempt([7]))
get_reusable_executor().shutdown()
print(attempt([8, 9]))
"""


def test_a_living_process_is_right_or_raises(folder):
    """Living workers keep what they imported; new ones import what was edited."""
    for name in ("tinyae", "data_tools", "lessons"):
        shutil.copytree(ROOT / name, folder / "copy" / name)
    said = python(folder, LIVING, folder / "copy").split()
    assert said == ["True", "True", "None", "True", "None"]
