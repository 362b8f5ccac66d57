"""Trainings and lessons killed, interrupted and out of room, for real: nothing is lost but the epoch in progress."""

import json
import os
import platform
import random
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from processes import (
    ROOT,
    WAIT,
    ended,
    finish,
    hashes,
    log,
    members,
    run,
    saved,
    start,
    until,
)
from small_training import BATCHES, EPOCHS, NAMES

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and limits")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(hashes, table) of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    out = hashes(run(folder, "--lesson", "--output", folder))
    assert len(log(folder)) == len(NAMES) * EPOCHS * BATCHES
    return out, (folder / "table1.csv").read_bytes()


# -- killed --


def test_killed_at_random_moments(tmp_path, undisturbed):
    """SIGKILL, to all processes or to the first alone, again and again: the same bits in the end, and each death costs
    each training no more than the epoch it was in.
    """
    rng, kills = random.Random(1), 0
    while kills < 7:
        process, seen = start(tmp_path), len(log(tmp_path))
        more = rng.randint(1, 2 * BATCHES)
        if not until(lambda: len(log(tmp_path)) >= seen + more, process):
            break  # it came to its end before
        kill = os.killpg if rng.random() < 0.7 else os.kill
        before = saved(tmp_path)
        kill(process.pid, signal.SIGKILL)
        process.wait(WAIT)
        kills += 1
        assert until(lambda: ended(pid for _, pid in log(tmp_path)[seen:]))
        after = saved(tmp_path)
        assert all(after[name] >= epochs for name, epochs in before.items()), (
            "a finished epoch was lost"
        )
    assert kills >= 3, "it was not killed"
    assert hashes(run(tmp_path)) == undisturbed[0]
    for name, batches in Counter(name for name, _ in log(tmp_path)).items():
        assert EPOCHS * BATCHES <= batches <= (EPOCHS + kills) * BATCHES, (
            f"{name}: {batches}, {kills} kills"
        )


def test_workers_do_not_outlive_the_process_that_was_killed(tmp_path):
    process = start(tmp_path, "--epochs", 200)
    assert until(
        lambda: len({pid for _, pid in log(tmp_path)}) == 2 and saved(tmp_path), process
    )
    process.kill()
    process.wait(WAIT)
    assert until(lambda: ended(pid for _, pid in log(tmp_path)))
    assert 1 <= max(saved(tmp_path).values()) < 200


def kill_a_worker_at_work(folder):
    """Whether there was one: an idle one, between two epochs, would not be missed."""
    name, pid = log(folder)[-1]
    os.kill(pid, signal.SIGSTOP)
    workers = [worker for training, worker in log(folder) if training == name]
    at_work = len(workers) % BATCHES > 0 and workers[-1] == pid
    os.kill(pid, signal.SIGKILL if at_work else signal.SIGCONT)
    return at_work


def test_a_killed_worker_ends_the_lesson_in_a_sentence(tmp_path, undisturbed):
    process = start(tmp_path, "--lesson", "--output", tmp_path)
    assert until(lambda: saved(tmp_path) and kill_a_worker_at_work(tmp_path), process)
    status, _, err = finish(process)
    assert (
        status == 1
        and "A worker process was killed" in err
        and "the same command goes on" in err
    )
    assert hashes(run(tmp_path)) == undisturbed[0]


# -- interrupted --

STOPPED = (
    "Stopped. Every finished epoch is saved: the same command goes on from there.\n"
)


def interrupt(process):
    """Ctrl-C: every process of the terminal's group gets it. All end, after one sentence."""
    os.killpg(process.pid, signal.SIGINT)
    status, out, err = finish(process)
    assert (
        status in (130, -signal.SIGINT)
        and err.endswith(STOPPED)
        and (out + err).count(STOPPED) == 1
    ), err
    assert until(lambda: not members(process)), "processes were left behind"
    return err


def test_interrupted_at_random_moments(tmp_path, undisturbed):
    rng, interrupts = random.Random(3), 0
    while interrupts < 4:
        process, seen = (
            start(tmp_path, "--lesson", "--output", tmp_path),
            len(log(tmp_path)),
        )
        more = rng.randint(1, 2 * BATCHES)
        if not until(lambda: len(log(tmp_path)) >= seen + more, process):
            break
        interrupt(process)
        interrupts += 1
    assert interrupts >= 2, "it was not interrupted"
    assert hashes(run(tmp_path, "--lesson", "--output", tmp_path)) == undisturbed[0]
    assert (tmp_path / "table1.csv").read_bytes() == undisturbed[1]
    for name, batches in Counter(name for name, _ in log(tmp_path)).items():
        assert EPOCHS * BATCHES <= batches <= (EPOCHS + interrupts) * BATCHES, name


@pytest.mark.skipif(
    not Path("/proc/self/maps").exists(),
    reason="needs /proc to see what a process has loaded",
)
@pytest.mark.parametrize("loaded", ["numpy", "scipy", "matplotlib"])
def test_interrupted_while_modules_are_loaded(tmp_path, loaded):
    process = start(tmp_path, "--lesson", "--output", tmp_path)
    assert until(
        lambda: f"/{loaded}/" in Path(f"/proc/{process.pid}/maps").read_text(), process
    )
    assert interrupt(process) == "\n" + STOPPED


@pytest.mark.parametrize("running", [2, 3, 4])
def test_interrupted_while_workers_start(tmp_path, running):
    process = start(tmp_path, "--lesson", "--output", tmp_path)
    assert until(lambda: members(process) >= running, process)
    interrupt(process)


def test_lesson_1_interrupted(tmp_path):
    """While it trains, and while it lays out codes; its table is that of a run that was not. Both end by Ctrl-C too,
    while they draw: the rest is figures.
    """

    def lesson(name):
        return start(
            tmp_path / name,
            "--quick",
            "--backend",
            "numpy",
            "--epochs",
            2,
            "--output",
            tmp_path / name,
            program=ROOT / "lessons" / "01_objective1.py",
        )

    for name, pattern in (
        ("whole", "table1.csv"),
        ("stopped", "trainings/Normal*.checkpoint"),
        ("stopped", "trainings/tsne*.checkpoint"),
        ("stopped", "table1.csv"),
    ):
        process = lesson(name)
        assert until(lambda: list((tmp_path / name).glob(pattern)), process)
        interrupt(process)
    tables = [
        (tmp_path / name / "table1.csv").read_bytes() for name in ("whole", "stopped")
    ]
    assert tables[0] == tables[1] and tables[0].count(b"\n") == 13


# -- no room --


def test_a_file_that_may_not_grow(tmp_path, undisturbed):
    """The limit strikes in the middle: one sentence, the checkpoint before it whole, and with room the rest."""
    status, _, err = finish(
        start(tmp_path, "--lesson", "--output", tmp_path, "--full-after", 3 * BATCHES)
    )
    assert (
        status == 1
        and err.count("The disk is full") == 1
        and err.endswith("the same command goes on from there.\n")
    )
    before = saved(tmp_path)
    assert before and all(1 <= epochs < EPOCHS for epochs in before.values())
    assert not list(tmp_path.rglob("*part")), (
        "half a file was left, where there is no room"
    )
    assert hashes(run(tmp_path)) == undisturbed[0]


def test_a_full_disk(tmp_path, undisturbed):
    """A file system too small for both trainings; later it grows."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3500k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("no right to mount a file system here")
    try:
        status, _, err = finish(start(disk, "--lesson", "--output", disk))
        assert status == 1 and err.count("The disk is full") == 1
        assert saved(disk)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert hashes(run(disk)) == undisturbed[0]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


# -- and the rest --


def test_two_at_once(tmp_path, undisturbed):
    """The same lesson twice, with one cache and one output folder."""
    both = [start(tmp_path, "--lesson", "--output", tmp_path) for _ in range(2)]
    for process in both:
        status, out, err = finish(process)
        assert status == 0 and hashes(out) == undisturbed[0], err
    assert (tmp_path / "table1.csv").read_bytes() == undisturbed[1]
    assert not list(tmp_path.rglob("*part"))


def test_divergence_ends_a_lesson_in_a_sentence(tmp_path):
    status, _, err = finish(
        start(tmp_path, "--lesson", "--output", tmp_path, "--lr", 1e30)
    )
    assert status == 1 and err.count("\n") == 2
    assert re.fullmatch(
        r"\nThe loss of epoch 1 is not finite\. It began in batch \d of the training images, in .* "
        r"\(\w+\)[^.]*\. Lower lr .*\n",
        err,
    )


def test_the_run_is_recorded(tmp_path):
    """Before anything is trained: what a result depends on."""
    process = start(
        tmp_path, "--lesson", "--output", tmp_path, "--seed", 5, "--latent-dim", 3
    )
    assert until(lambda: (tmp_path / "run.json").exists(), process)
    process.kill()
    process.communicate(timeout=WAIT)
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["settings"] == {
        "seed": 5,
        "output": str(tmp_path),
        "backend": "numpy",
        "quick": True,
        "epochs": EPOCHS,
        "latent_dim": 3,
        "data": "sample",
        "fresh": False,
    }
    assert (
        run["device"].startswith("Runs on the CPU")
        and run["versions"]["python"] == platform.python_version()
    )
    assert {"numpy", "scikit-learn"} < run["versions"].keys() and {
        "commit",
        "changed since",
    } < run.keys()
    assert run["threads in a training"] == 1 and all(
        lib["num_threads"] >= 1 for lib in run["threads"]
    )
    if not (ROOT / ".git").exists():
        return
    assert re.fullmatch("[0-9a-f]{40}", run["commit"]), "the commit of the clone"
