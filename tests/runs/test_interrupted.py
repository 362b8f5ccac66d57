"""A lesson that is stopped, at any moment, loses only the current epoch."""

import os
import random
import signal
import sys
import time

import pytest
from processes import ROOT, WAIT, finish, run, start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
SMALL = {"program": ROOT / "tests" / "runs" / "small_training.py"}
STOPPED = (
    "\nStopped. Every finished epoch is saved; the same command, without --fresh, "
    "continues.\n"
)


def hashes(out):
    """Return the last lines of small_training.py, in order."""
    return sorted(out.splitlines()[-2:])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return hashes(run(tmp_path_factory.mktemp("undisturbed"), **SMALL))


def log(folder):
    """Return the processes of the batches begun so far."""
    path = folder / "log"
    return path.read_text().split() if path.exists() else []


def stop(folder, how, batches):
    """Start the lesson; end it after that many batches: by Ctrl-C or by SIGKILL."""
    batches += len(log(folder))
    process = start(folder, **SMALL)
    while len(log(folder)) < batches:
        assert process.poll() is None
        time.sleep(0.005)
    if how == "killed":
        process.kill()
        process.communicate(timeout=WAIT)  # until its workers have closed stdout, too
    else:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        status, _, err = finish(process)
        assert status == 130 and err.endswith(STOPPED) and err.count("Stopped") == 1


def test_stopped_at_any_moment_it_gives_the_same_bits(tmp_path, undisturbed):
    """Killed in any, interrupted when no worker is just starting."""
    moments = [1, 8, 40, random.randrange(12, 40), random.randrange(35, 45)]
    for i, batches in enumerate(moments):
        stop(tmp_path, "killed" if i % 2 else "interrupted", batches)
    before = len(log(tmp_path))
    assert hashes(run(tmp_path, **SMALL)) == undisturbed
    # Each of the 12 epochs has 8 batches to train and 2 to test.
    assert len(log(tmp_path)) - before < 120, f"no epoch was saved: {moments}"


def test_two_at_once_beside_a_file_named_like_the_librarys(tmp_path, undisturbed):
    """The same lesson twice, with one cache, in a folder with a signal.py."""
    (tmp_path / "signal.py").write_text("raise SystemExit('not the library')")
    for process in [start(tmp_path, cwd=tmp_path, **SMALL) for _ in range(2)]:
        status, out, err = finish(process)
        assert (status, hashes(out)) == (0, undisturbed), err
    assert len(set(log(tmp_path))) == 6  # two parents and their workers
