"""Several processes: the gradient is that of the whole batch, and a training that of one process."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from training_data import THESIS_TOML, write_fields

from wsiseg.errors import SettingsError
from wsiseg.train.distributed import World, joined

GRADIENT = """
import sys
import torch
from wsiseg.train.distributed import joined

def jaccard(p, g):
    return 1 - (p * g).sum() / (p + g - p * g).sum()

torch.manual_seed(0)
pixels, truth = torch.rand(8, 3, 6, 6), (torch.rand(8, 1, 6, 6) < 0.4).float()
network = torch.nn.Conv2d(3, 1, 3, padding=1)
jaccard(network(pixels).sigmoid(), truth).backward()
alone = [p.grad.clone() for p in network.parameters()]
network.zero_grad()
with joined("cpu") as world:
    spread, places = world.spread(network), world.places(8)
    part = spread(pixels[places.start : places.stop]).sigmoid()
    whole, wanted = world.gathered(part), world.gathered(truth[places.start : places.stop])
    assert whole.shape == truth.shape and (wanted == truth).all()
    (jaccard(whole, wanted) * world.size).backward()
    close = all(torch.allclose(p.grad, g, rtol=1e-5) for p, g in zip(network.parameters(), alone))
    world.wait()
sys.exit(not (world.size == 2 and close))
"""


def torchrun(arguments, cwd):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([sys.executable, *launcher, *arguments], cwd=cwd, check=True)


def epochs(folder):
    return np.genfromtxt(folder / "epochs.csv", delimiter=",", names=True)


def test_each_process_has_its_share_of_a_batch():
    worlds = [World(torch.device("cpu"), rank, 3) for rank in range(3)]
    assert [place for world in worlds for place in world.places(6)] == list(range(6))
    assert [world.leads for world in worlds] == [True, False, False]
    with pytest.raises(SettingsError, match="batch is 8, which 3 processes cannot share"):
        worlds[0].places(8)


def test_alone_nothing_is_spread():
    network = torch.nn.Conv2d(1, 1, 1)
    with joined("cpu") as world:
        assert world.spread(network) is network
        assert world.gathered(network.weight) is network.weight
        assert world.places(5) == range(5)
        world.wait()


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(SettingsError, match="E-DEVICE"), joined("cuda:99"):
        pass


@pytest.mark.slow
def test_the_gradient_is_that_of_the_whole_batch(tmp_path):
    (tmp_path / "gradient.py").write_text(GRADIENT, "utf-8")
    torchrun(["gradient.py"], tmp_path)


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path):
    # All crops are of one field: batch normalisation sees nearly the same in a share of the batch as in the whole.
    write_fields(tmp_path / "discs", splits=("train", "val"))
    (tmp_path / "train.toml").write_text(THESIS_TOML.replace("batch = 2", "batch = 4"), "utf-8")
    arguments = ["-m", "wsiseg", "train", "train.toml", "--device", "cpu", "-o"]
    subprocess.run([sys.executable, *arguments, "alone"], cwd=tmp_path, check=True)
    torchrun([*arguments, "together"], tmp_path)
    alone, together = epochs(tmp_path / "alone"), epochs(tmp_path / "together")
    for name in set(alone.dtype.names) - {"seconds"}:
        assert alone[name] == pytest.approx(together[name], rel=0.05), name
