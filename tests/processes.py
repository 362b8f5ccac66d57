"""Processes to be killed: starting small_training.py and the lessons, watching what they do, and what is left."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from small_training import NAMES

from tinyae import checkpoint

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(__file__).with_name("small_training.py")
WAIT = (
    300  # seconds until a process is given up: never reached, however slow the machine
)


def start(folder, *arguments, program=PROGRAM):
    """A process in a group of its own, as a terminal starts it, with its cache in `folder`."""
    first = [str(folder)] if program is PROGRAM else []
    variables = {"TINYAE_CACHE": str(folder), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    return subprocess.Popen(
        [sys.executable, str(program), *first, *map(str, arguments)],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        cwd=ROOT,
        start_new_session=True,
    )


def finish(process):
    """(exit status, stdout, stderr), none of which may show a traceback."""
    out, err = process.communicate(timeout=WAIT)
    assert (
        "Traceback" not in out + err
        and "Exception ignored" not in out + err
        and "Error:" not in err
    ), out + err
    return process.returncode, out, err


def run(folder, *arguments):
    """The output of a run that ends well."""
    status, out, err = finish(start(folder, *arguments))
    assert status == 0, err
    return out


def hashes(out):
    """The lines that small_training.py prints at its end."""
    found = re.findall(r"^\w+ [0-9a-f]{64}$", out, re.M)
    assert len(found) == len(NAMES)
    return found


def log(folder):
    """[(training, process), ...] of the batches begun so far."""
    path = folder / "log"
    return (
        [
            (name, int(pid))
            for name, pid in map(str.split, path.read_text().splitlines())
        ]
        if path.exists()
        else []
    )


def saved(folder):
    """{training: finished epochs on the disk}, also while they are being written."""

    def damaged(text):
        raise AssertionError(text)

    stems = {
        file.name.split(".checkpoint")[0]
        for file in (folder / "trainings").glob("*.checkpoint*")
    }
    found = {
        stem: checkpoint.load_latest(
            folder / "trainings" / f"{stem}.checkpoint", damaged
        )
        for stem in stems
    }
    return {
        stem.split("-")[0]: len(loaded[0]["history"])
        for stem, loaded in found.items()
        if loaded
    }


def until(condition, process=None):
    """Wait for condition(); False if `process` ended before."""
    for _ in range(100 * WAIT):
        if condition():
            return True
        if process and process.poll() is not None:
            return False
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def processes():
    """{process: its group} of all that run. The dead do not, though who adopts orphans may be slow to bury them."""
    if Path("/proc/self/stat").exists():
        rows = []
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            try:
                state, _, group = (
                    Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:3]
                )
                rows.append((pid, group, state))
            except OSError:  # it has just ended
                pass
    else:
        listed = subprocess.run(
            ["ps", "-eo", "pid=,pgid=,stat="],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        rows = map(str.split, listed.splitlines())
    return {int(pid): int(group) for pid, group, state in rows if state[0] not in "ZX"}


def members(process):
    """How many processes of the group that `process` leads run."""
    return list(processes().values()).count(process.pid)


def ended(pids):
    """Whether none of them runs."""
    return not processes().keys() & set(pids)
