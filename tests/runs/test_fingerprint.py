"""A result is found again for what made it, and for nothing else."""

import os
import subprocess
import sys
import types

import pytest
import sweep
from processes import LESSONS

# What a reader may write in a lesson; each number decides what something computes.
SOURCE = """
import functools
from functools import partial

CONSTANT = 1001.0
TABLE = {"a": [1002], "b": {1003, 4}}


class Base:
    def shift(self):
        return 1004


class Corruption(Base):
    gain = 1005
    flags = [1006]
    on = 1007 > 0

    def __init__(self, sigma):
        self.sigma = sigma

    def __call__(self, images, rng):
        return images * self.gain + CONSTANT + self.shift()

    @property
    def size(self):
        return 1008

    @staticmethod
    def fixed():
        return 1009

    class Inner:
        depth = 1010


def helper(x, y=1011, *, z=1012):
    if x in {"one", "two", "three", "four"}:
        return TABLE
    return [i + 1013 for i in x]


def outer(n):
    def inner(x):
        return helper(x) * n

    return inner


@functools.cache
def remembered():
    return 1014


def recursive(n):
    return recursive(n - 1) + remembered() if n else 1015


def even(n):
    return n == 0 or odd(n - 1)


def odd(n):
    return n == 1016 or even(n - 1)


class Model:
    def __init__(self, size, *, seed):
        super().__init__()
        self.size = size


THINGS = [Corruption(1017), outer(1018), recursive, even, partial(Model, 1019)]
THINGS += [lambda x: x + 1020, partial(helper, z=1021), Corruption(0).shift]
"""


def fingerprint(source):
    """Return the fingerprint of the THINGS in `source`, as a lesson defines them."""
    lesson = types.ModuleType("a_lesson")
    lesson.__file__ = "a_lesson.py"
    sys.modules["a_lesson"] = lesson
    try:
        exec(source, vars(lesson))
        return sweep.fingerprint(*lesson.THINGS)
    finally:
        del sys.modules["a_lesson"]


def test_the_same_definitions_have_the_same_fingerprint():
    assert fingerprint(SOURCE) == fingerprint("# a comment\n\n" + SOURCE)


@pytest.mark.parametrize("number", range(1001, 1022))
def test_a_changed_definition_has_another_fingerprint(number):
    changed = SOURCE.replace(str(number), "-5")
    assert changed != SOURCE and fingerprint(changed) != fingerprint(SOURCE)


def test_it_is_the_same_in_every_process(tmp_path):
    """Whatever the order of sets is there: as a program and as an imported module."""
    (tmp_path / "a_lesson.py").write_text(SOURCE)
    code = f"""if True:
        import sys
        sys.path[:0] = [{str(LESSONS)!r}, {str(LESSONS.parent)!r}]
        import a_lesson, sweep
        print(sweep.fingerprint(*a_lesson.THINGS))"""
    prints = set()
    for seed in "123":
        command = [sys.executable, "-c", code]
        how = {"cwd": tmp_path, "env": os.environ | {"PYTHONHASHSEED": seed}}
        prints.add(subprocess.check_output(command, text=True, **how))
    assert len(prints) == 1


LESSON = """
import sys

sys.path.append({lessons!r})

from common import CACHE, load, measure, np, options, remember, train

import data_tools
from tinyae.experiment import Experiment, to_range

VALUE = 0.5
args = options("a_lesson", "A lesson.")
data = load(args)._replace(train_images=load(args).train_images[:64])


def score(training, pixels):
    with open(CACHE / "log", "a") as log:
        log.write("measured ")
    erase = data_tools.RandomErasing(p=1, value=VALUE)
    images = erase(to_range(pixels, (-1.0, 1.0)), np.random.default_rng(1))
    return float(images.sum()) + training.history[0][0]


def double(x):
    with open(CACHE / "log", "a") as log:
        log.write("doubled ")
    return 2 * x


trainings = dict(train({{"a": Experiment(epochs=1)}}, data, args))
scores = measure(score, trainings, data.test_images[:50])
print("found", scores["a"], remember(double, 4))
"""


def test_a_changed_lesson_shows_no_old_number(tmp_path):
    """And what did not change is not computed again."""
    path = tmp_path / "a_lesson.py"
    source = LESSON.format(lessons=str(LESSONS))
    found = []
    for text in (
        source,
        source,
        source.replace("0.5", "0.6"),
        source.replace("2 *", "3 *"),
    ):
        path.write_text(text)
        command = [sys.executable, path, "--quick", "--output", tmp_path]
        env = os.environ | {"TINYAE_CACHE": str(tmp_path)}
        out = subprocess.check_output(command, text=True, env=env)
        found.append(out.splitlines()[-1].split()[1:])
    (a, b), again, (c, d), (e, f) = found
    assert again == [a, b] and c != a and d == b and e == a and f != b
    assert (tmp_path / "log").read_text() == "measured doubled measured doubled "
