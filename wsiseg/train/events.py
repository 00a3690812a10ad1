"""The epochs of a training as TensorBoard events, where TensorBoard is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from wsiseg.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from torch.utils.tensorboard import SummaryWriter

    from wsiseg.train.loop import Progress


class Events:
    """Writes each epoch's figures, `loss/train` and so on, over the steps; call it with a training's progress.

    Raises
    ------
    SettingsError
        E-USAGE: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        if find_spec("tensorboard") is None:
            raise SettingsError(
                "E-USAGE", "TensorBoard is not installed", fix="pip install 'wsiseg[tensorboard]', or leave it out"
            )
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def __call__(self, progress: Progress) -> None:
        """Write the epoch that a step has ended, if it has."""
        row = progress.row
        if row is None:
            return
        writer = self._writer or self._open(progress.step)
        for column, value in row.items():
            part, _, figure = column.partition("_")
            if part in ("train", "val"):
                writer.add_scalar(f"{figure}/{part}", value, progress.step)
        writer.add_scalar("learning_rate", row["learning_rate"], progress.step)
        writer.flush()

    def _open(self, step: int) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        # A killed training may have told of this step before: TensorBoard then forgets it.
        self._writer = SummaryWriter(str(self._folder), purge_step=step)
        return self._writer
