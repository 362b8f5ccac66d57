"""A group of processes that share every batch (tinyae/group.py): they exchange means through memory that all share.

A mean is wanted every half a millisecond, and a process that sleeps until it is sent something wakes a tenth of a
millisecond late. So they stay awake: they write what they have on a board, a file mapped into the memory of all, and
look there until the others have, too.
"""

import threading
import time

import numpy

LENGTH = 2**17  # how many numbers are exchanged at once, at most
PATIENCE = 600  # seconds


def new_board(size, file):
    """Make and return `file`, which `size` members will share as memory: two sheets, each with a line for every member,
    the turn it was written in and the numbers; float64, all 0.
    """
    numpy.memmap(file, "float64", "w+", shape=(2, size, 1 + LENGTH))
    return file


class Group:
    """Member `rank` (0, 1, ...) of the processes, of one machine, that share the new board `file`."""

    def __init__(self, rank, file):
        self._board = numpy.asarray(numpy.memmap(file, "float64", "r+")).reshape(
            2, -1, 1 + LENGTH
        )
        self.rank, self.size, self.turn, self._lock = (
            rank,
            self._board.shape[1],
            0,
            threading.Lock(),
        )
        self._lock.acquire()

    def mean(self, vector):
        """The mean of the vectors (n,) of all members, which must be NumPy arrays of one length and dtype: the same bits
        for all. Raises TimeoutError if they have not all come after PATIENCE seconds.
        """
        if len(vector) > LENGTH:
            return numpy.concat(
                [self.mean(vector[:LENGTH]), self.mean(vector[LENGTH:])]
            )
        self.turn += 1
        sheet = self._board[
            self.turn % 2
        ]  # one is written while another may still read the other; none is two turns ahead
        numbers = sheet[:, 1:].view(vector.dtype)[:, : len(vector)]
        numbers[self.rank] = vector
        self._fence()
        sheet[self.rank, 0] = self.turn
        looks, until = 0, time.monotonic() + PATIENCE
        while sheet[:, 0].min() < self.turn:
            looks += 1
            if looks > 300:  # somebody is late, and may want this core
                time.sleep(1e-5)
                if time.monotonic() > until:
                    raise TimeoutError(
                        f"the process of rank {self.rank} waited {PATIENCE} s for the other {self.size - 1} "
                        "of its group: one has ended, or is far slower"
                    )
        self._fence()
        return numpy.mean(numbers, axis=0)

    def _fence(self):
        """A processor may carry out reads and writes in another order (ARM's do), and others see the turn before the
        numbers; but not across a lock that is released and then taken again.
        """
        self._lock.release()
        self._lock.acquire()
