"""A sweep on a cluster: the same call in joblib's parallel_config, the same bits."""

import sys

import joblib
import pytest
import sweep
from test_sweep import assert_right, train, two

from data_tools import RandomErasing


def test_a_dask_cluster_gives_the_same_bits(tmp_path):
    reason = "Dask is not installed: pip install 'dask[distributed]'"
    distributed = pytest.importorskip("distributed", reason=reason)
    with (
        distributed.LocalCluster(
            2, threads_per_worker=1, dashboard_address=None
        ) as one,
        distributed.Client(one) as client,
        joblib.parallel_config(backend="dask"),
    ):
        client.upload_file(sweep.__file__)
        experiments = two(corruption=RandomErasing())
        assert_right(train(tmp_path, experiments), experiments)
        worked = client.run(lambda: "tinyae.training" in sys.modules)
    assert any(worked.values()), "the trainings did not run on the cluster"
