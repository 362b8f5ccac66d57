"""What the lessons share, so that each lesson's own text is its subject: the command line, the data, tables."""

import _thread
import argparse
import atexit
import concurrent.futures
import csv
import errno
import hashlib
import html
import io
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # in a bare clone the packages stand beside this folder
STOPPED = (
    "\nStopped. Every finished epoch is saved: the same command goes on from there.\n"
)


def _leave(*_):
    """What Ctrl-C does while modules are loaded: an exception there could come out as anything."""
    os.write(2, STOPPED.encode())
    os._exit(130)


if "ipykernel" not in sys.modules:
    signal.signal(signal.SIGINT, _leave)
# After Ctrl-C a helper process of joblib's may warn of semaphores that nobody closed, and find them gone: no news.
os.environ["PYTHONWARNINGS"] = ",".join(
    filter(None, (os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker"))
)
warnings.filterwarnings(
    "ignore", "IProgress not found"
)  # tqdm's, in a notebook: it lacks a widget nothing here uses

try:
    import matplotlib

    if "ipykernel" not in sys.modules:
        matplotlib.use("Agg")  # figures are written to files: no display is needed
    import matplotlib.pyplot as plt
    import numpy as np
    import sklearn
    from sklearn.manifold import TSNE
    from sweep import cache_folder, measure, missing, train
    from threadpoolctl import threadpool_info

    import data_tools
    from tinyae import checkpoint
    from tinyae.backend import BackendUnavailable, choose
    from tinyae.training import TrainingDiverged
except ImportError as error:
    sys.exit(
        f"The lessons need {error.name}, which is not installed. Type:\n"
        f"    {sys.executable} -m pip install numpy scikit-learn matplotlib pooch tqdm"
    )

# -- The datasets, by one name everywhere --

CORRUPTIONS = {"Normal": None, "RandomErasing": data_tools.RandomErasing()} | {
    f"Gaussian σ={sigma}": data_tools.GaussianNoise(float(sigma))
    for sigma in ("0.01", "0.1", "0.5", "1")
}

# The report's tables: dataset -> average loss (epoch 1 train, epoch 1 test, epoch 20 train, epoch 20 test)
REPORT = {
    "Normal": (0.848, 0.675, 0.601, 0.599),
    "Gaussian σ=1": (1.860, 1.689, 1.600, 1.598),
    "RandomErasing": (0.922, 0.679, 0.569, 0.567),
    "Gaussian σ=0.01": (0.949, 0.731, 0.600, 0.598),
    "Gaussian σ=0.1": (1.014, 0.734, 0.612, 0.610),
    "Gaussian σ=0.5": (1.103, 0.929, 0.852, 0.850),
}


# -- The command line --


def options(name, description, trains=True, epochs_quick=20):
    """The options that every lesson takes, read from the command line (from nowhere inside a notebook).

    name: the lesson's, such as "01_objective1": where its output goes by default. Returns a namespace with seed, output
    (a Path, made here), backend (a name that is there), quick, and if the lesson trains on Fashion-MNIST also epochs,
    latent_dim, data and fresh. Prints the run's first line: the device, and why that one.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    option = parser.add_argument
    option(
        "--seed", type=_at_least(0), default=1, help="for weights, shuffling and noise"
    )
    option(
        "--output",
        type=Path,
        default=ROOT / "results" / name,
        help="where figures and tables go",
    )
    option(
        "--backend",
        default="auto",
        help="numpy (the CPU), cupy (an NVIDIA GPU), or auto",
    )
    option(
        "--quick",
        action="store_true",
        help="less of it: a minute or two, to see how it goes",
    )
    if trains:
        option(
            "--epochs",
            type=_at_least(1),
            default=epochs_quick if "--quick" in sys.argv else 20,
            help="how often each training goes through the images",
        )
        option(
            "--latent-dim",
            type=_at_least(1),
            default=4,
            help="numbers in an image's code",
        )
        option(
            "--data",
            metavar="FOLDER",
            help="where the four Fashion-MNIST files are, or 'sample' for the small one "
            "that comes with this project (default: look for them, or download them)",
        )
        option(
            "--fresh",
            action="store_true",
            help="train again, even what an earlier run has finished",
        )
    chosen = parser.parse_args([] if "ipykernel" in sys.modules else None)
    try:
        backend, why = choose(chosen.backend)
    except ValueError as error:
        parser.error(f"--{error}")
    print(why)
    chosen.backend = backend.name
    if trains and chosen.quick:
        chosen.data = chosen.data or "sample"
    checkpoint.write(
        chosen.output / "run.json",
        json.dumps(_run(chosen, why), indent=1, default=str).encode(),
    )
    return chosen


def _run(chosen, why):
    """What a result depends on: the settings, the device, the versions and, in a git clone, the commit."""

    def git(*command):
        try:
            return subprocess.run(
                ["git", "--no-optional-locks", "-C", ROOT, *command],
                capture_output=True,
                text=True,
            ).stdout.strip()
        except OSError:  # no git here
            return ""

    # The trainings' BLAS has one thread in each process, whatever is written here.
    blas = [
        {key: lib.get(key) for key in ("internal_api", "version", "num_threads")}
        for lib in threadpool_info()
    ]
    return {
        "lesson": Path(sys.argv[0]).stem,
        "settings": vars(chosen),
        "device": why,
        "versions": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
        },
        "threads": blas,
        "threads in a training": 1,
        "commit": git("rev-parse", "HEAD") or None,
        "changed since": bool(git("status", "--porcelain")),
    }


def _at_least(low):
    def integer(text):
        if not text.lstrip("-").isdigit() or int(text) < low:
            raise argparse.ArgumentTypeError(
                f"got {text!r}, expected an integer of at least {low}"
            )
        return int(text)

    return integer


def _explain(kind, error, traceback):
    """In place of a traceback, for what is not a mistake in the program: one sentence that says how to go on."""
    if issubclass(kind, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
        sys.stderr.write(STOPPED)
    elif issubclass(kind, concurrent.futures.BrokenExecutor):
        sys.stderr.write(
            "\nA worker process was killed, perhaps for want of memory. Every finished epoch is saved: "
            "the same command goes on from there.\n"
        )
    elif (
        issubclass(kind, OSError)
        and error.filename
        and error.errno
        in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
    ):  # forbidden, or a file where a folder goes
        sys.stderr.write(
            f"\n{error}: choose another folder with --output, and with TINYAE_CACHE for the trainings.\n"
        )
    elif issubclass(kind, OSError) and error.errno in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
    ):
        sys.stderr.write(
            f"\nThe disk is full ({error}). What was finished is saved; make room, and the same command "
            "goes on from there.\n"
        )
    elif issubclass(kind, (BackendUnavailable, data_tools.DataError, TrainingDiverged)):
        sys.stderr.write(f"\n{error}\n")
    else:
        sys.__excepthook__(kind, error, traceback)


def _interrupt_again(ignored):
    """Ctrl-C that strikes where Python cannot pass an exception on, such as a destructor: let it strike once more."""
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        _thread.interrupt_main()
    else:
        sys.__unraisablehook__(ignored)


def _thread_failed(failed):
    """joblib's own thread may stumble when its work is taken away, after Ctrl-C or an error: that is no news."""
    if getattr(failed.thread, "name", "") != "ExecutorManagerThread" or not issubclass(
        failed.exc_type, KeyError
    ):
        threading.__excepthook__(failed)


sys.excepthook, sys.unraisablehook, threading.excepthook = (
    _explain,
    _interrupt_again,
    _thread_failed,
)
if "ipykernel" not in sys.modules:
    atexit.register(
        signal.signal, signal.SIGINT, signal.SIG_IGN
    )  # when all is done there is nothing to stop
    signal.signal(signal.SIGINT, signal.default_int_handler)


# -- Data, and codes laid out --


def load(chosen):
    """Fashion-MNIST, from where --data says or where it is found."""
    data = data_tools.load_fashion_mnist(chosen.data)
    print(
        f"Fashion-MNIST: {len(data.train_images):,} images to train and {len(data.test_images):,} to test, "
        f"from {data.source}."
    )
    if not data.complete:
        print(
            "This is the small sample: its losses are not comparable with the report's, which are left out."
        )
    return data


def tsne(codes):
    """The codes (M, latent_dim) laid out in the plane by t-SNE as the report did it, (M, 2); kept like a training."""
    path = (
        cache_folder()
        / f"tsne-{hashlib.sha256(np.ascontiguousarray(codes)).hexdigest()[:16]}.checkpoint"
    )
    saved = checkpoint.load_latest(path)
    if saved:
        return saved[0]["points"]
    points = TSNE(perplexity=30, random_state=307, n_jobs=-1).fit_transform(codes)
    checkpoint.save(path, {"points": points}, {})
    return points


# -- Tables --


def table(header, rows, title):
    """Print rows of cells (strings, or numbers shown with three decimals) under a header, in aligned columns."""
    cells = [
        [cell if isinstance(cell, str) else f"{cell:.3f}" for cell in row]
        for row in rows
    ]
    widths = [max(len(row[i]) for row in [header, *cells]) for i in range(len(header))]
    line = lambda row: "  ".join(
        c.ljust(w) if i == 0 else c.rjust(w)
        for i, (c, w) in enumerate(zip(row, widths))
    )
    rule = "-" * len(line(header))
    text = "\n".join([title, rule, line(header), rule, *map(line, cells), rule])
    if (
        "ipykernel" in sys.modules
    ):  # a page, which on a small screen would break a table's lines, and a formula's
        from IPython.display import HTML, display

        display(
            HTML(
                "<style>.jp-RenderedHTMLCommon pre, .jp-RenderedHTMLCommon pre code { white-space: pre !important; "
                "overflow-x: auto; font: 13px/1.3 monospace !important }</style>"
                f"<pre>{html.escape(text)}</pre>"
            )
        )
    else:
        print(f"\n{text}")


def save_csv(path, rows):
    """Write rows of cells as a CSV file, the whole of it or nothing."""
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)
    checkpoint.write(path, file.getvalue().encode())


def loss_table(trainings, data, chosen, number):
    """Print the report's table beside ours, and write it as table<number>.csv (dataset, epoch, split, loss, report)."""
    comparable = data.complete and chosen.epochs == 20 and chosen.latent_dim == 4
    rows, lines = [], []
    for name, training in trainings.items():
        for i, epoch in enumerate((1, chosen.epochs)):
            for j, split in enumerate(("train", "test")):
                ours, report = training.history[epoch - 1][j], REPORT[name][2 * i + j]
                lines.append(
                    [
                        name,
                        epoch,
                        split,
                        f"{ours:.6f}",
                        f"{report:.3f}" if comparable else "",
                    ]
                )
                rows.append(
                    [
                        name,
                        str(epoch),
                        split,
                        f"{report:.3f}" if comparable else "-",
                        ours,
                        f"{ours - report:+.3f}" if comparable else "-",
                    ]
                )
    table(
        ["dataset", "epoch", "split", "report", "ours", "difference"],
        rows,
        f"Table {number}. Average loss",
    )
    save_csv(
        chosen.output / f"table{number}.csv",
        [["dataset", "epoch", "split", "loss", "report"], *lines],
    )
