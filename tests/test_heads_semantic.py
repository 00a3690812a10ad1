"""The semantic head: two classes, and nuclei are what is connected."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from head_contract import HeadContract

from wsiseg.models.heads import HEADS, make_head


def make(class_count=1, **settings):
    return make_head(SimpleNamespace(head="semantic", head_settings=settings, class_count=class_count, mpp=0.5))


class TestSemanticHead(HeadContract):
    def head(self):
        return make()


def test_touching_nuclei_stay_one():
    maps = np.zeros((1, 60, 60), np.uint8)
    maps[0, 10:30, 10:50] = 255
    maps[0, 40:50, 10:20] = 255
    labels = make().decode(maps).image()
    assert sorted(np.unique(labels)) == [0, 1, 2]
    assert labels[20, 20] == labels[20, 45] != labels[45, 15]


def test_the_activation_is_the_softmax_share_of_the_nucleus():
    logits = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)
    assert make().activate(logits).item() == pytest.approx(1 / (1 + np.exp(-2.0)))


def test_a_second_class_is_refused():
    with pytest.raises(ValueError, match="one class"):
        make(class_count=2)


def test_each_head_of_the_table_bears_its_name():
    for name in HEADS:
        spec = SimpleNamespace(head=name, head_settings={}, class_count=1, mpp=0.25)
        assert make_head(spec).name == name
