"""One training on several processes: each keeps a copy of the model and works on its part of every batch.

Only two things in a step depend on more than one image: batch norm's means over the batch, and the gradient. The loss is
a mean over the batch, and so is its gradient: with parts of one size, the mean of the parts' gradients. So the members
of a group need nothing of each other but means. With the same gradient each makes the same step, and the copies stay
equal, bit for bit. (PyTorch: DistributedDataParallel with SyncBatchNorm.)

A mean is needed every half a millisecond, sooner than a process that sleeps is woken. So they write what they have into
memory that all share, and look at it again and again until the others have written theirs.
"""

import threading
import time

from .backend import host

LENGTH = 2**17  # how many numbers are exchanged at once, at most
PATIENCE = 600  # seconds


class Alone:
    """The group of a process that trains by itself: what it has is the mean."""

    rank, size = 0, 1

    def mean(self, vector):
        return vector


def new_board(size, file):
    """What the `size` members of a group share, mapped from a new `file`: two sheets, each with a line for every member,
    the turn it was written in and the numbers."""
    return host.memmap(file, "float64", "w+", shape=(2, size, 1 + LENGTH))


class Group:
    """Member `rank` (0, 1, ...) of the processes of one machine that share `board`, which is all 0 when they begin."""

    def __init__(self, rank, board):
        self.rank, self.size, self.turn = rank, board.shape[1], 0
        self._board, self._lock = host.asarray(board), threading.Lock()  # an array is quicker than a memmap
        self._lock.acquire()

    def mean(self, vector):
        """The mean of the vectors (n,) of all members, which must be NumPy arrays of one length and dtype: the same bits for
        all. Raises TimeoutError if they have not all come after PATIENCE seconds."""
        if len(vector) > LENGTH:
            return host.concat([self.mean(vector[:LENGTH]), self.mean(vector[LENGTH:])])
        self.turn += 1
        sheet = self._board[self.turn % 2]  # who is a turn ahead writes on the other one, while this is still read
        numbers = sheet[:, 1:].view(vector.dtype)[:, :len(vector)]
        numbers[self.rank] = vector
        self._fence()
        sheet[self.rank, 0] = self.turn
        looks, until = 0, time.monotonic() + PATIENCE
        while sheet[:, 0].min() < self.turn:
            looks += 1
            if looks > 300:  # somebody is late, and may want this core
                time.sleep(1e-5)
                if time.monotonic() > until:
                    raise TimeoutError(f"member {self.rank} of {self.size} waited for the others for {PATIENCE} s")
        self._fence()
        return host.mean(numbers, axis=0)

    def _fence(self):
        """All that was read and written before is done before what comes after: processors may reorder (ARM's do), but not
        across a lock that is released and taken again."""
        self._lock.release()
        self._lock.acquire()
