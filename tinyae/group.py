"""Sharing every batch with other processes: each keeps a copy of the model and works on its part of the images.

Images meet others of their batch in two places only: batch norm, which takes means over them, and the gradient, a mean
too, since the loss is one. So all that the members of a group need of each other are means. Where batch norm's four
means (mu and var forward; mean(dy) and mean(dy xhat) backward, by which an image reaches the others' loss) are taken
over all parts, and the parts are of one size, the mean of the members' gradients is the gradient of the whole batch.
With it each member makes the same step, and the copies stay equal, bit for bit. (In PyTorch: DistributedDataParallel
and SyncBatchNorm.)

How processes exchange means is not this package's business: lessons/board.py has a way.
"""


class Alone:
    """The group of a process that trains by itself: what it has is the mean. Other groups have the same three members:
    rank (0, 1, ...) of size, and mean(vector), for NumPy arrays (n,): the mean of what all ask with, the same bits for all.
    """

    rank, size = 0, 1

    def mean(self, vector):
        return vector
