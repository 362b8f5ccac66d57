"""Lessons that are killed, interrupted or out of room lose only the current epoch."""

import json
import os
import platform
import random
import re
import signal
import sys
from collections import Counter

import joblib
import pytest
from processes import (
    BATCHES,
    EPOCHS,
    LESSON_1,
    NAMES,
    WAIT,
    finish,
    hashes,
    log,
    members,
    processes,
    run,
    saved,
    start,
    until,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
two_cores = pytest.mark.skipif(joblib.cpu_count() < 2, reason="needs workers")
STOPPED = (
    "\nStopped. Every finished epoch is saved; the same command, without --fresh, "
    "continues.\n"
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return the hashes, the table and the progress of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    status, out, err = finish(start(folder))
    assert status == 0 and len(log(folder)) == len(NAMES) * EPOCHS * BATCHES
    return hashes(out), (folder / "table1.csv").read_bytes(), err


def assert_little_was_repeated(folder, stops):
    """Each stop cost each training at most the epoch it was in."""
    for name, batches in Counter(name for name, _ in log(folder)).items():
        most = (EPOCHS + stops) * BATCHES
        assert EPOCHS * BATCHES <= batches <= most, f"{name}: {batches}, {stops} stops"


def start_and_wait(folder, rng):
    """Start a run; return it at a random moment, or None if it ended before."""
    process, seen = start(folder), len(log(folder))
    more = rng.randint(1, 2 * BATCHES)
    return process if until(lambda: len(log(folder)) >= seen + more, process) else None


def test_killed_at_random_moments(tmp_path, undisturbed):
    """SIGKILL, to all processes or only to the first."""
    rng = random.Random(1)
    for kill in (os.killpg, os.kill, os.killpg):
        process, seen = start_and_wait(tmp_path, rng), len(log(tmp_path))
        before = saved(tmp_path)
        kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=WAIT)
        workers = {pid for _, pid in log(tmp_path)[seen - 1 :]}
        assert until(lambda pids=workers: not pids & processes().keys())
        after = saved(tmp_path)
        assert all(after[name] >= epochs for name, epochs in before.items())
    assert hashes(run(tmp_path)) == undisturbed[0]
    assert_little_was_repeated(tmp_path, 3)


@two_cores
def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    process = start(tmp_path, "--epochs", 500)
    assert until(lambda: len({pid for _, pid in log(tmp_path)}) == 2, process)
    process.kill()
    process.wait(WAIT)
    assert until(lambda: not members(process))
    assert max(saved(tmp_path).values(), default=0) < 500


def kill_a_worker_at_work(folder):
    """Kill the latest worker, if it is in the middle of an epoch."""
    name, pid = log(folder)[-1]
    os.kill(pid, signal.SIGSTOP)
    workers = [worker for training, worker in log(folder) if training == name]
    at_work = len(workers) % BATCHES > 0 and workers[-1] == pid
    os.kill(pid, signal.SIGKILL if at_work else signal.SIGCONT)
    return at_work


@two_cores
def test_a_killed_worker_ends_the_lesson_in_a_sentence(tmp_path, undisturbed):
    process = start(tmp_path)
    assert until(lambda: saved(tmp_path) and kill_a_worker_at_work(tmp_path), process)
    status, _, err = finish(process)
    assert status == 1 and "A worker process was killed" in err
    assert hashes(run(tmp_path)) == undisturbed[0]


def interrupt(process):
    """Press Ctrl-C: every process of the group gets it, and all end."""
    os.killpg(process.pid, signal.SIGINT)
    status, out, err = finish(process)
    assert status == 130 and err.endswith(STOPPED), err
    assert (out + err).count("Stopped") == 1
    assert until(lambda: not members(process)), "a process remains"


def test_interrupted_at_random_moments(tmp_path, undisturbed):
    rng, stops = random.Random(3), 3
    for _ in range(stops):
        interrupt(start_and_wait(tmp_path, rng))
    assert hashes(run(tmp_path)) == undisturbed[0]
    assert (tmp_path / "table1.csv").read_bytes() == undisturbed[1]
    assert_little_was_repeated(tmp_path, stops)


@two_cores
@pytest.mark.parametrize("running", [1, 2, 3, 4])
def test_interrupted_while_workers_start(tmp_path, running):
    process = start(tmp_path)
    assert process.stdout.readline().startswith("Runs on")
    assert until(lambda: members(process) >= running, process)
    interrupt(process)


def test_lesson_1_interrupted(tmp_path):
    """While it lays out the first codes."""
    process = start(tmp_path, "--epochs", 1, program=LESSON_1)
    assert until(lambda: saved(tmp_path), process)
    interrupt(process)


@pytest.mark.parametrize("lr", [1e30, 1e39])
def test_divergence_ends_a_lesson_in_a_sentence(tmp_path, lr):
    status, _, err = finish(start(tmp_path, "--lr", lr))
    names = "|".join(NAMES)
    said = (
        rf"\n({names}): The loss of epoch 1 is not finite\. Lower lr .* It began in "
        r"batch \d of the training images, in .*\.\n$"
    )
    assert status == 1 and re.search(said, err) and err.count("It began") == 1


def test_a_full_disk(tmp_path, undisturbed):
    """One sentence; the checkpoint before is whole; with room, the rest."""
    status, _, err = finish(start(tmp_path, "--full-after", 3 * BATCHES))
    assert status == 1 and "Make room" in err
    before = saved(tmp_path)
    assert before and all(1 <= epochs < EPOCHS for epochs in before.values())
    assert not list(tmp_path.rglob("*.part")), "half a file remains"
    assert hashes(run(tmp_path)) == undisturbed[0]


def test_two_at_once(tmp_path, undisturbed):
    """The same lesson twice, with one cache and one output folder."""
    for process in [start(tmp_path) for _ in range(2)]:
        status, out, err = finish(process)
        assert status == 0 and hashes(out) == undisturbed[0], err
    assert (tmp_path / "table1.csv").read_bytes() == undisturbed[1]
    assert not list(tmp_path.rglob("*.part"))


def test_progress_in_a_log_is_a_few_lines_with_the_time_left(undisturbed):
    lines = [line for line in undisturbed[2].splitlines() if line]
    assert 1 <= len(lines) <= WAIT / 10 + 2
    for line in lines:
        assert re.search(r"\d+/12 .*\d\d:\d\d<\S+,", line), line


def test_the_run_is_recorded(tmp_path):
    """Before anything is trained: the settings that a result depends on."""
    run(tmp_path, "--seed", 5, "--latent-dim", 3, "--epochs", 1)
    recorded = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert recorded["settings"] == {
        "seed": 5,
        "output": str(tmp_path),
        "backend": "numpy",
        "quick": True,
        "epochs": 1,
        "latent_dim": 3,
        "data": "sample",
        "fresh": False,
    }
    assert recorded["device"].startswith("Runs on the CPU")
    assert recorded["versions"]["python"] == platform.python_version()
