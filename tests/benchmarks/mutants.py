"""How strong are the tests? Change one thing in a file, and see whether a test fails.

    python tests/benchmarks/mutants.py tinyae/optim.py --tests tests/mathematics

One at a time, each operator becomes another one, each comparison gains or loses its
equality or is negated, each number grows by 1, and each True becomes False. pytest -x
runs for each, in a copy of the project. What it does not notice is printed: either a
test is missing, or the change makes no difference. It takes hours; --sample 30 tries
30 changes of each file, drawn with --seed. Each run is a fork of this process, so it
needs Linux or macOS.
"""

import argparse
import ast
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "HYPOTHESIS_PROFILE": "mutants"}
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
sys.dont_write_bytecode = True  # two changes may be of one size and in one second

import numpy  # noqa: E402, F401 -- imported once, for all forks
import pytest  # noqa: E402
from hypothesis import Phase, settings  # noqa: E402

QUICK = {"max_examples": 10, "phases": [Phase.explicit, Phase.generate]}
settings.register_profile("mutants", derandomize=True, deadline=None, **QUICK)

PAIRS = "FloorDiv Mult, Mod Mult, Pow Mult, MatMult Mult, Not UAdd, Add Sub, Mult Div, "
PAIRS += "BitOr BitAnd, And Or, Lt LtE, Gt GtE, Eq NotEq, In NotIn, Is IsNot, USub UAdd"
PAIRS = [pair.split() for pair in PAIRS.split(", ")]
OTHER = {new: old for old, new in PAIRS} | dict(PAIRS)


def replacement(node, old):
    """Return what to put in place of `old`, part of a field of `node`, or None."""
    if isinstance(node, ast.Constant) and isinstance(old, (int, float)):
        return not old if isinstance(old, bool) else old + 1
    other = OTHER.get(type(old).__name__)
    return other and getattr(ast, other)()


def mutants(source):
    """Yield (line number, the changed expression, the changed source)."""
    source, *checks = source.partition("\nCHECKS =")  # those inputs may be any
    for number, node in enumerate(ast.walk(ast.parse(source))):
        for field, value in ast.iter_fields(node):
            listed = isinstance(value, list)
            olds = value if listed else [value]
            for place, old in enumerate(olds):
                new = replacement(node, old)
                if new is not None:
                    tree = ast.parse(source)
                    changed = list(ast.walk(tree))[number]
                    news = [*olds[:place], new, *olds[place + 1 :]]
                    setattr(changed, field, news if listed else new)
                    text = ast.unparse(tree) + "".join(checks)
                    yield node.lineno, ast.unparse(changed), text


def run(tests):
    """Run pytest without output, and exit with its status."""
    sys.stdout = open(os.devnull, "w")
    os._exit(pytest.main(["-x", "--tb=no", "-p", "no:cacheprovider", *tests]))


def fails(tests):
    """Return whether a test fails, or runs for more than ten minutes."""
    child = multiprocessing.get_context("fork").Process(target=run, args=[tests])
    child.start()
    child.join(600)
    child.kill()  # a change may make a loop endless
    return child.exitcode != 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+")
    parser.add_argument("--tests", nargs="...", help="last: what pytest is given")
    parser.add_argument("--sample", type=int, default=10**6)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    copy = Path(tempfile.mkdtemp(), "copy")
    hidden = shutil.ignore_patterns(".git", "__pycache__", "results")
    shutil.copytree(Path(__file__).resolve().parents[2], copy, ignore=hidden)
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)
    if fails(args.tests):
        sys.exit("the tests fail as they are, before anything is changed")
    for path in map(Path, args.files):
        source = path.read_text("utf-8")
        tried = list(mutants(source))
        chosen = min(args.sample, len(tried))
        found = 0
        for line, expression, changed in random.Random(args.seed).sample(tried, chosen):
            path.write_text(changed, "utf-8")
            if fails(args.tests):
                found += 1
            else:
                print(f"{path}:{line}: survived: {expression}", flush=True)
        print(f"{path}: caught {found}/{chosen}", flush=True)
        path.write_text(source, "utf-8")
    shutil.rmtree(copy.parent)


if __name__ == "__main__":
    main()
