"""A sweep on a cluster: the same call in joblib's parallel_config, the same bits."""

import sys

import joblib
import pytest
import sweep
from test_sweep import EXPERIMENTS, IMAGES, assert_same, train


def test_a_dask_cluster_gives_the_same_results(tmp_path):
    reason = "Dask is not installed: pip install 'dask[distributed]'"
    distributed = pytest.importorskip("distributed", reason=reason)
    here = train(tmp_path / "here", n_jobs=1)
    how = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.LocalCluster(**how) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        client.upload_file(sweep.__file__)
        there = dict(sweep.train_all(EXPERIMENTS, IMAGES, tmp_path / "there"))
        worked = client.run(lambda: "tinyae.training" in sys.modules)
    assert any(worked.values()), "the trainings did not run on the cluster"
    assert_same({name: there[name] for name in here}, here)
