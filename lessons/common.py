"""What the lessons share: the command line, the data, tables, and how a run ends."""

import argparse
import csv
import errno
import html
import io
import json
import multiprocessing
import os
import platform
import shlex
import signal
import sys
import warnings
from concurrent.futures import BrokenExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that a bare clone runs without being installed
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads of t-SNE sleep
IN_NOTEBOOK = not {"ipykernel", "pyodide_kernel"}.isdisjoint(sys.modules)
if not IN_NOTEBOOK:
    os.environ["MPLBACKEND"] = "agg"  # figures are written to files
    # An encoding may lack σ; and a closed pipe is noticed at once, not at the end.
    sys.stdout.reconfigure(errors="replace", line_buffering=True)
    sys.stderr.reconfigure(errors="replace")
warnings.filterwarnings("ignore", "IProgress")  # tqdm, in a notebook without widgets

try:
    import matplotlib.pyplot as plt
    import numpy as np
    from sklearn.manifold import TSNE
    from sweep import CACHE, measure, remember, train_all

    import data_tools
    from tinyae import checkpoint
    from tinyae.backend import BackendUnavailable, get_backend
    from tinyae.training import TrainingDiverged
except ImportError as error:
    package = str(error.name).partition(".")[0]
    sys.exit(
        f"The lessons need {package}, which is not installed. Type:\n"
        f"    {sys.executable} -m pip install numpy scikit-learn matplotlib pooch tqdm"
    )
except OSError as error:  # from sweep, which makes its folder
    sys.exit(f"TINYAE_CACHE: cannot write to {error.filename} ({error.strerror})")

__all__ = ["measure", "np", "plt", "remember"]  # for the lessons to import

SIGMAS = ("0.01", "0.1", "0.5", "1")
CORRUPTIONS = {"Normal": None, "RandomErasing": data_tools.RandomErasing()}
CORRUPTIONS |= {f"Gaussian σ={s}": data_tools.GaussianNoise(float(s)) for s in SIGMAS}

# The report's tables: average loss in epoch 1 (train, test) and epoch 20 (train, test)
REPORT = {
    "Normal": (0.848, 0.675, 0.601, 0.599),
    "Gaussian σ=1": (1.860, 1.689, 1.600, 1.598),
    "RandomErasing": (0.922, 0.679, 0.569, 0.567),
    "Gaussian σ=0.01": (0.949, 0.731, 0.600, 0.598),
    "Gaussian σ=0.1": (1.014, 0.734, 0.612, 0.610),
    "Gaussian σ=0.5": (1.103, 0.929, 0.852, 0.850),
}

# How a run ends


class BadOptions(ValueError):
    """TINYAE_OPTIONS, a notebook's options, cannot be used."""


def refuse(message):
    raise BadOptions(f"TINYAE_OPTIONS: {message}")


MENDABLE = (BackendUnavailable, BadOptions, data_tools.DataError, TrainingDiverged)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # these come without a file's name


def sentence(error):
    """Return what to say instead of a traceback; None if the error is a bug."""
    if isinstance(error, KeyboardInterrupt):
        return (
            "Stopped. Every finished epoch is saved; the same command, without "
            "--fresh, continues."
        )
    if isinstance(error, MENDABLE):
        return str(error)
    if isinstance(error, BrokenExecutor):
        return (
            "A worker process was killed, perhaps because memory ran out. Every "
            "finished epoch is saved; the same command, without --fresh, continues."
        )
    if isinstance(error, MemoryError):
        return f"Not enough memory: {error}. A smaller --latent-dim needs less."
    if isinstance(error, OSError) and (error.filename or error.errno in NO_ROOM):
        return (
            f"{error}. What was finished is saved. Make room, or choose another "
            "folder: --output for figures, TINYAE_CACHE for trainings."
        )
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


def explain(kind, error, traceback):
    """The excepthook: a sentence for what a user can mend, a traceback for bugs."""
    if isinstance(error, BrokenPipeError):  # python lesson.py | head
        end(141)
    text = sentence(error)
    if text is None:
        sys.__excepthook__(kind, error, traceback)
    else:
        end(1, f"\n{text}\n")


def stop(*_):
    end(130, f"\n{sentence(KeyboardInterrupt())}\n")


if IN_NOTEBOOK:
    from IPython import get_ipython
    from IPython.display import HTML, display

    def show_sentence(shell, kind, error, traceback, **_):
        if sentence(error) is None:
            shell.showtraceback((kind, error, traceback))
        else:
            print(sentence(error))

    get_ipython().set_custom_exc((BaseException,), show_sentence)
else:
    sys.excepthook = explain
    signal.signal(signal.SIGINT, stop)


# The command line


def integer(low, high):
    """Return an argparse type: an integer from `low` to `high`."""

    def parse(text):
        if not text.lstrip("-").isdecimal() or not low <= int(text) <= high:
            form = f"an integer from {low} to {high}"
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {form}")
        return int(text)

    return parse


def path(text):
    return Path(os.path.expanduser(text))


def options(name, description, trains=True, epochs_quick=20, largest_code=784):
    """Read the options that every lesson takes; print on which device it runs, and why.

    name: the lesson's, such as "01_objective1"; its output goes to results/<name> by
    default. trains: whether it trains on Fashion-MNIST. In a notebook the options come
    from the environment variable TINYAE_OPTIONS.
    """
    parser = argparse.ArgumentParser(
        prog=f"{name}.py",
        usage="%(prog)s [options]",
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--seed", type=integer(0, 10**9), default=1, help="of weights, order and noise")
    folder = ROOT / "results" / name
    add("--output", type=path, default=folder, help="folder for figures and tables")
    add("--backend", default="auto", help="numpy (a CPU), cupy (an NVIDIA GPU) or auto")
    add("--quick", action="store_true", help="a minute or two on the small sample")
    if trains:
        default = f"default: 20; with --quick: {epochs_quick}"
        add("--epochs", type=integer(1, 10**6), help=default)
        size = integer(1, largest_code)
        add("--latent-dim", type=size, default=4, help="numbers in an image's code")
        files = "folder of the four files, or 'sample'; else find or download"
        add("--data", help=files)
        add("--fresh", action="store_true", help="train again what is already trained")
    given = None
    if IN_NOTEBOOK:
        given = shlex.split(os.environ.get("TINYAE_OPTIONS", ""))
        parser.error = refuse
    args, unknown = parser.parse_known_args(given)
    if unknown and not IN_NOTEBOOK:  # there all lessons share the same options
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        backend, why = get_backend(args.backend)
    except ValueError as error:
        parser.error(f"argument --{error}")
    args.backend = backend.name
    if trains:
        args.epochs = args.epochs or (epochs_quick if args.quick else 20)
        args.data = args.data or ("sample" if args.quick else None)
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    run = {"lesson": name, "settings": vars(args), "device": why, "versions": versions}
    text = json.dumps(run, indent=1, default=str).encode()
    where = {"argument --output": args.output}
    if trains:
        where["TINYAE_CACHE"] = CACHE
    for option, folder in where.items():
        try:
            checkpoint.write(folder / "run.json", text)
            # Can the old results be replaced?
            for file in [*folder.glob("*.png"), *folder.glob("*.csv")]:
                checkpoint.write(file, file.read_bytes())
        except OSError as error:
            parser.error(f"{option}: cannot write to {folder} ({error.strerror})")
    print(why)
    return args


# The data, and results that are kept


def load(args):
    """Return Fashion-MNIST, from where --data says or where it is found."""
    data = data_tools.load_fashion_mnist(args.data)
    counts = f"{len(data.train_images):,} training and {len(data.test_images):,} test"
    print(f"Fashion-MNIST: {counts} images, from {data.source}.")
    if not data.complete:
        print(
            "This is the small sample. Its losses cannot be compared with the report's."
        )
    return data


def train(experiments, data, args):
    """Train what is not trained yet; yield (name, Training) as each is done."""
    return train_all(
        experiments, (data.train_images, data.test_images), fresh=args.fresh
    )


def _tsne(codes):
    if codes.shape[1] < 2:  # the initialisation by PCA needs two columns
        codes = np.hstack([codes, np.zeros_like(codes)])
    return TSNE(perplexity=30, random_state=307, n_jobs=-1).fit_transform(codes)


def tsne(codes):
    """Return codes (M, latent_dim) laid out in the plane as in the report: (M, 2)."""
    return remember(_tsne)(codes)


# Tables


def heading(text):
    """Print a section's title; a notebook shows its own."""
    if not IN_NOTEBOOK:
        print(f"\n== {text} ==")


def table(header, rows, title):
    """Show rows of cells (strings, or numbers with three decimals) under a header."""
    rows = [list(map(_text, row)) for row in rows]
    if IN_NOTEBOOK:
        body = _html("th", header) + "".join(_html("td", row) for row in rows)
        box = "<div style='overflow-x: auto'>"
        display(HTML(f"<p>{html.escape(title)}</p>{box}<table>{body}</table></div>"))
        return
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)

    def line(cells):
        first = cells[0].ljust(widths[0])
        return "  ".join([first, *map(str.rjust, cells[1:], widths[1:])])

    print(f"\n{title}", rule, line(header), rule, *map(line, rows), rule, sep="\n")


def _text(cell):
    return cell if isinstance(cell, str) else f"{cell:.3f}"


def _html(tag, cells):
    cells = [f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells]
    return f"<tr>{''.join(cells)}</tr>"


def save_csv(path, rows):
    """Write rows of cells as a CSV file in UTF-8: the whole file or nothing."""
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)
    checkpoint.write(path, file.getvalue().encode())


def loss_table(trainings, data, args, number):
    """Show the report's table beside ours, and write it as table<number>.csv."""
    comparable = data.complete and args.epochs == 20 and args.latent_dim == 4
    rows = []
    for name, training in trainings.items():
        for i, epoch in enumerate(dict.fromkeys((1, args.epochs))):
            for j, split in enumerate(("train", "test")):
                loss = training.history[epoch - 1][j]
                report = REPORT[name][2 * i + j]
                theirs = f"{report:.3f}" if comparable else "-"
                difference = f"{loss - report:+.3f}" if comparable else "-"
                rows.append([name, str(epoch), split, loss, theirs, difference])
    header = ["dataset", "epoch", "split", "loss", "report", "difference"]
    table(header, rows, f"Table {number}. Average loss")
    columns = [row[:5] for row in [header, *rows]]
    save_csv(args.output / f"table{number}.csv", columns)
