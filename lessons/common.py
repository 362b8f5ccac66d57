"""What the lessons share: the command line, the data, tables, and how a run ends."""

import argparse
import html
import json
import multiprocessing
import os
import re
import shlex
import signal
import sys
import traceback
from concurrent.futures import BrokenExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]  # so that a bare clone runs, from any folder
IN_NOTEBOOK = not {"ipykernel", "pyodide_kernel"}.isdisjoint(sys.modules)

# How a run ends

if IN_NOTEBOOK:
    AGAIN, PIP = "run the cell again to continue", "%pip"
else:
    AGAIN = "the same command, without --fresh, continues"
    PIP = f"{sys.executable} -m pip"


def sentence(error):
    """Return what to say instead of a traceback; None if the error is a bug.

    The error's causes count too. A worker process sends some of them only as text.
    """
    while error:
        if isinstance(error, KeyboardInterrupt):
            return f"Stopped. Every finished epoch is saved; {AGAIN}."
        if isinstance(error, MENDABLE):
            return str(error)
        if isinstance(error, (BrokenExecutor, MemoryError)):
            return (
                "A worker process was killed, memory ran out, or an experiment could "
                f"not be sent to a worker. Every finished epoch is saved; {AGAIN}."
            )
        if found := re.search(r"\[(Errno|WinError) .*", str(error)):
            return (
                f"{found[0]}. Every finished epoch is saved. Make room, or name other "
                "folders with --output, TINYAE_CACHE and JOBLIB_TEMP_FOLDER. (And the "
                f"working folder must exist.) Then {AGAIN}."
            )
        error = error.__cause__ or error.__context__
    return None


def end(status, text=""):
    """End this process and its workers at once, with a sentence."""
    try:
        os.write(2, text.encode(sys.stderr.encoding, "replace"))
        for worker in multiprocessing.active_children():
            worker.terminate()
        sys.stdout.flush()
    finally:
        os._exit(status)


def explain(kind, error, trace):
    """The excepthook: a sentence for what a user can mend, a traceback for bugs."""
    if isinstance(error, BrokenPipeError):  # python lesson.py | head
        end(141)
    if text := sentence(error):
        end(1, f"\n{text}\n")
    sys.__excepthook__(kind, error, trace)


def stop(*_):
    end(130, f"\n{sentence(KeyboardInterrupt())}\n")


def explain_in_notebook(shell, kind, error, trace, **how):
    """Do as explain() does, but only for errors that passed through our functions."""
    ours = str(HERE) in "".join(traceback.format_tb(trace))
    if ours and sentence(error):
        print(sentence(error))
    else:
        shell.showtraceback((kind, error, trace), **how)


def end_in_a_sentence():
    """Let this program end in a sentence, where that explains the end."""
    sys.excepthook = explain
    signal.signal(signal.SIGINT, stop)


MENDABLE = ()  # more below
if IN_NOTEBOOK:
    from IPython import get_ipython
    from IPython.display import HTML, display

    get_ipython().set_custom_exc((BaseException,), explain_in_notebook)
elif sys.argv[0] in sys.orig_argv and Path(sys.argv[0]).resolve().parent == HERE:
    # Python was started to run a lesson. Other programs keep their own handlers.
    if "IPython" not in sys.modules:
        end_in_a_sentence()

# The environment

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads of t-SNE sleep
if not IN_NOTEBOOK:
    os.environ["MPLBACKEND"] = "agg"  # figures are written to files
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it is closed, but our processes need it
            stream = open(os.devnull, "w")
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
        if hasattr(stream, "reconfigure"):
            # An encoding may lack σ, and a closed pipe is noticed at once.
            stream.reconfigure(errors="replace", line_buffering=True)

try:
    import matplotlib.pyplot as plt
    import numpy as np
    from sklearn.manifold import TSNE
    from sweep import SweepError, measure, remember, train_all

    import data_tools
    from tinyae import checkpoint, checks
    from tinyae.backend import BackendUnavailable, get_backend
    from tinyae.training import TrainingDiverged
except ImportError as error:
    sys.exit(
        f"{error}. Type:\n    {PIP} install numpy scikit-learn matplotlib pooch tqdm"
    )

MENDABLE = BackendUnavailable, data_tools.DataError, SweepError, TrainingDiverged
__all__ = ["checkpoint", "measure", "plt"]  # for the lessons

SIGMAS = ("0.01", "0.1", "0.5", "1")
CORRUPTIONS = {"Normal": None, "RandomErasing": data_tools.RandomErasing()}
CORRUPTIONS |= {f"Gaussian σ={s}": data_tools.GaussianNoise(float(s)) for s in SIGMAS}

# The report's tables: average loss in epoch 1 (train, test) and epoch 20 (train, test)
REPORT = json.loads((HERE / "report.json").read_text(encoding="utf-8"))

# The command line


def options(name, description, trains=True, epochs_quick=20, largest_code=784):
    """Read the options that every lesson takes; print on which device it runs, and why.

    name: the lesson's, such as "01_objective1"; its output goes to results/<name> by
    default. trains: whether it trains on Fashion-MNIST. The cells of a notebook have no
    command line; their options come from the environment variable TINYAE_OPTIONS.
    """
    given = None
    if IN_NOTEBOOK and Path(sys.argv[0]).stem != name:  # else it was started by %run
        given = shlex.split(os.environ.get("TINYAE_OPTIONS", ""))
    parser = argparse.ArgumentParser(
        prog=name,
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--seed", type=int, default=1, help="of weights, order and noise")
    add("--output", default=ROOT / "results" / name, help="folder of figures, tables")
    add("--backend", default="auto", help="numpy (a CPU), cupy (an NVIDIA GPU) or auto")
    add("--quick", action="store_true", help="a minute or two: small data, few rounds")
    if trains:
        add("--epochs", type=int, default=20, help=f"with --quick {epochs_quick};")
        add("--latent-dim", type=int, default=4, help="numbers in an image's code")
        add("--data", help="folder of IDX files, or 'sample'; else find or download")
        add("--fresh", action="store_true", help="train again what is already trained")
    args, unknown = parser.parse_known_args(given)
    if args.quick:
        parser.set_defaults(epochs=epochs_quick, data="sample")
        args, _ = parser.parse_known_args(given)
    if unknown and given is None:  # in notebooks all lessons share the same options
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        backend, why = get_backend(args.backend)
        checks.integer("seed", args.seed, at_least=0)
        if trains:
            checks.integer("epochs", args.epochs)
            checks.number("latent-dim", args.latent_dim, 1, largest_code)
    except ValueError as error:
        parser.error(f"argument --{error}")
    args.backend = backend.name
    args.output = Path(args.output).expanduser()
    args.output.mkdir(parents=True, exist_ok=True)
    print(why)
    return args


# The data, and what is computed from them


def load(args):
    """Return Fashion-MNIST, from where --data says or where it is found.

    Raises DataError if the lessons' model cannot take the images.
    """
    data = data_tools.load_fashion_mnist(args.data)
    size = data.train_images.shape[1:]
    form = "(28, 28), for which the lessons' model is made"
    checks.expect(size == (28, 28), data_tools.DataError, "images", size, form)
    print(
        f"Data: {len(data.train_images):,} training and {len(data.test_images):,} test "
        f"images, from {data.source}."
    )
    if not data.complete:
        print("Losses on these images cannot be compared with the report's.")
    return data


def train(experiments, data, args, after_epoch=None):
    """Train what is not trained yet; yield (name, Training) as each is done.

    after_epoch: called with (name, training) after each epoch that is trained now.
    """
    images = data.train_images, data.test_images
    return train_all(experiments, images, fresh=args.fresh, after_epoch=after_epoch)


@remember
def _tsne(codes):
    start = "pca" if codes.shape[1] > 1 else "random"  # it needs two columns
    near = min(30, len(codes) - 1)
    layout = TSNE(perplexity=near, init=start, random_state=307, n_jobs=-1)
    return layout.fit_transform(codes)


def tsne(codes):
    """Return codes (M, latent_dim) laid out in the plane as in the report: (M, 2)."""
    if not np.var(codes, axis=0).any():  # scikit-learn would crash
        print(
            "The autoencoder collapsed: all its codes are equal, so are their places."
        )
        return np.zeros((len(codes), 2))
    return _tsne(codes)


# Tables


def heading(text):
    """Print a section's title; a notebook shows its own."""
    if not IN_NOTEBOOK:
        print(f"\n== {text} ==")


def table(header, rows, title):
    """Show rows of cells (strings, or numbers with three decimals) under a header."""
    cells = [[c if isinstance(c, str) else f"{c:.3f}" for c in row] for row in rows]
    rows = [header, *cells]
    if IN_NOTEBOOK:
        lines = ["<tr><td>" + "<td>".join(map(html.escape, row)) for row in rows]
        lines[0] = lines[0].replace("<td>", "<th>")
        title = html.escape(title)
        # A wide table scrolls in its box; tabindex lets the keyboard do it.
        how = f"tabindex='0' role='region' aria-label='{title}'"
        box = f"<div style='overflow-x: auto' {how}><table>{''.join(lines)}</table>"
        display(HTML(f"<p>{title}</p>{box}</div>"))
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]
        lines.append("  ".join(cells))
    rule = "-" * len(lines[0])
    print("", title, rule, lines[0], rule, *lines[1:], rule, sep="\n")


def loss_table(trainings, data, args, number):
    """Show the report's table beside ours, and write it as table<number>.csv."""
    comparable = data.complete and args.epochs == 20 and args.latent_dim == 4
    header = ["dataset", "epoch", "train", "test", "report: train", "report: test"]
    rows = []
    for name, training in trainings.items():
        for epoch, i in {1: 0, args.epochs: 2}.items():
            theirs = REPORT[name][i : i + 2] if comparable else "--"
            rows.append([name, str(epoch), *training.history[epoch - 1], *theirs])
    table(header, rows, f"Table {number}. Average loss")
    path = args.output / f"table{number}.csv"
    np.savetxt(path, [header, *rows], "%s", delimiter=",", encoding="utf-8")
