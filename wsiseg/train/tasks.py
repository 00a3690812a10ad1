"""What a training learns: where nuclei are, or, on outlines that are good already, which type each is of.

Crops, steps, averages and checkpoints are the same for both; what differs stands here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch.nn import functional

from wsiseg.errors import SettingsError
from wsiseg.models.heads import make_head
from wsiseg.train.classes import CLASSES_FILE, read_class_map, read_class_names
from wsiseg.train.data import read_labels
from wsiseg.train.epochs import BatchFigures
from wsiseg.typemap import CELL_PX

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor, nn

    from wsiseg.models.bundle import ModelSpec, TypesSpec
    from wsiseg.train.data import FieldEntry

    Planes = npt.NDArray[np.float32]

_CLEAR = 0.5
"""From here on a probability, or a target that resampling has softened, counts as nucleus."""
_FULL_WEIGHT_UM2 = 15.0
"""Pixels of a larger nucleus weigh less, so that each nucleus weighs the same."""
_SMOOTHING = 0.05
"""Share of the truth that is spread over all classes: pathologists differ."""


class Task(Protocol):
    """What a training learns."""

    @property
    def mpp(self) -> float:
        """Micrometres per pixel of its crops."""

    @property
    def prefix(self) -> str:
        """How the names of its tensors begin in the bundle."""

    def part(self, network: nn.Module) -> nn.Module:
        """Give the part of a bundle's network that learns."""

    def check(self, folder: Path) -> None:
        """Refuse a data folder that means something else, with a SettingsError E-DATA."""

    def targets(self, entry: FieldEntry) -> Planes:
        """Give the (planes, h, w) targets of a field, from 0 to 1."""

    def loss(self, logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Compare what the part gives with (n, planes, h, w) targets, where the (n, 1, h, w) weight is 1."""

    def figures(self, loss: Tensor, logits: Tensor, targets: Tensor, weight: Tensor) -> BatchFigures:
        """Tell how well a batch was told apart."""


def task_of(spec: ModelSpec) -> Task:
    """Give what a training learns that is to make a bundle: types, if it has them."""
    return LearnTypes(spec, spec.types) if spec.types else LearnOutlines(spec)


class LearnOutlines:
    """The head's maps, by the head's loss."""

    prefix = ""

    def __init__(self, spec: ModelSpec) -> None:
        self.mpp = spec.mpp
        self._head = make_head(spec)

    def part(self, network: nn.Module) -> nn.Module:
        """Give the whole network."""
        return network

    def check(self, folder: Path) -> None:
        """Take any folder: a nucleus is a nucleus."""

    def targets(self, entry: FieldEntry) -> Planes:
        """Give the maps of a perfect network."""
        return self._head.targets(read_labels(entry.instances))

    def loss(self, logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Give the head's loss."""
        return self._head.loss(logits, targets, weight)

    def figures(self, loss: Tensor, logits: Tensor, targets: Tensor, weight: Tensor) -> BatchFigures:
        """Compare nucleus and background."""
        maps = self._head.activate(logits)
        return BatchFigures.of(loss, *(t[:, 0] >= _CLEAR for t in (targets, maps, weight)))


class LearnTypes:
    """The class of each pixel of a nucleus whose class is known; nothing else counts."""

    prefix = "types."

    def __init__(self, spec: ModelSpec, types: TypesSpec) -> None:
        self.mpp = types.mpp
        self._names = {one.value: one.name for one in spec.classes}

    def part(self, network: nn.Module) -> nn.Module:
        """Give the network of the types."""
        return network.get_submodule("types")

    def check(self, folder: Path) -> None:
        """Refuse a folder that gives a value of ours another name."""
        for value, name in read_class_names(folder).items():
            if self._names.get(value, name) != name:
                what = f"its class {value} is {name!r}, the model's is {self._names[value]!r}"
                raise SettingsError("E-DATA", what, where=folder / CLASSES_FILE)

    def targets(self, entry: FieldEntry) -> Planes:
        """Give a plane for each class: what a pixel of its nuclei weighs."""
        labels = read_labels(entry.instances)
        classes = read_class_map(entry, labels.shape)
        if unknown := set(np.unique(classes).tolist()) - {0, *self._names}:
            what = f"the class {min(unknown)} is none of the model's"
            raise SettingsError("E-DATA", what, where=entry.classes)
        area_um2 = np.bincount(labels.ravel())[labels] * entry.mpp**2
        weight = np.minimum(_FULL_WEIGHT_UM2 / area_um2, 1.0) * (labels > 0)
        return np.stack([weight * (classes == value) for value in self._names]).astype(np.float32)

    def loss(self, logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Give the cross-entropy of cells, each weighed by what is known of it."""
        known = _in_cells(targets * weight)
        total = known.sum(1, keepdim=True)
        truth = known * (1 - _SMOOTHING) + total * (_SMOOTHING / known.shape[1])
        return -(functional.log_softmax(logits, 1) * truth).sum() / total.sum().clamp_min(1e-6)

    def figures(self, loss: Tensor, logits: Tensor, targets: Tensor, weight: Tensor) -> BatchFigures:
        """Compare each class with the others, in the cells whose class is known."""
        known = _in_cells(targets * weight)
        found, truth = (_largest(each) for each in (logits, known))
        return BatchFigures.of(loss, truth, found, (known.sum(1, keepdim=True) > 0).expand_as(truth))


def _in_cells(planes: Tensor) -> Tensor:
    return functional.avg_pool2d(planes, CELL_PX)


def _largest(values: Tensor) -> Tensor:
    """Mark in (n, classes, h, w) the class of the largest value."""
    return functional.one_hot(values.argmax(1), values.shape[1]).permute(0, 3, 1, 2) > 0
