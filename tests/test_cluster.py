"""A sweep on a cluster: the same call inside joblib's parallel_config, the same results."""

import sys

import joblib
import numpy as np
import pytest
import sweep

from data_tools import GaussianNoise, load_sample
from tinyae.training import Experiment


def test_a_dask_cluster_gives_the_same_results(tmp_path):
    distributed = pytest.importorskip(
        "distributed", reason="Dask is not installed: pip install 'dask[distributed]'"
    )
    data = load_sample()
    images = data.train_images[:300], data.test_images[:100]
    experiments = {
        f"sigma {sigma}": Experiment(
            corruption=GaussianNoise(sigma), epochs=2, batch_size=64
        )
        for sigma in (0.1, 0.2, 0.5)
    }
    here = {
        name: training.state()
        for name, training in sweep.train_all(
            experiments, *images, tmp_path / "here", "source", n_jobs=1
        )
    }
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        with (
            distributed.Client(cluster) as client,
            joblib.parallel_config(backend="dask"),
        ):
            client.upload_file(sweep.__file__)
            there = {
                name: training.state()
                for name, training in sweep.train_all(
                    experiments, *images, tmp_path / "there", "source"
                )
            }
            worked = client.run(
                lambda: "tinyae.training" in sys.modules
            )  # in each worker's process
    assert any(worked.values()), "the trainings did not run on the cluster"
    assert here.keys() == there.keys() == experiments.keys()
    for name in experiments:
        assert all(
            np.array_equal(here[name][key], there[name][key]) for key in here[name]
        ), name
