"""Which blocks of a slide wait for what. Knows no files, no threads and no pixels.

A block is *mapped* when the network has seen it, *ready* when it and the blocks that touch it are mapped,
*decoded* when its nuclei are recorded; its maps are *spent* when it and the blocks that touch it are decoded.
Blocks may be finished in any order and by anyone.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from wsiseg.tiling import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Board:
    """The state of all blocks of one slide.

    Parameters
    ----------
    active
        The blocks with at least one wanted tile.
    decoded
        Those that an earlier execution decoded.
    is_mapped
        Tells whether an earlier execution left a block's maps; not asked where nobody needs them any more.
    """

    def __init__(
        self,
        active: Iterable[Block],
        decoded: Iterable[Block] = (),
        is_mapped: Callable[[Block], bool] = lambda block: False,
    ) -> None:
        self.active = tuple(active)
        among = set(self.active)
        self._near = {block: [one for one in _around(block) if one in among] for block in self.active}
        self._decoded = set(decoded)
        self._mapped = {block for block in self.active if not self._is_spent(block) and is_mapped(block)}
        self._given: set[Block] = set()

    @property
    def finished(self) -> bool:
        """Whether every block is decoded."""
        return len(self._decoded) == len(self.active)

    def to_infer(self) -> list[Block]:
        """Give the blocks whose maps are missing and needed, in the order of `active`."""
        return [block for block in self.active if block not in self._mapped and not self._is_spent(block)]

    def ready(self) -> list[Block]:
        """Give the blocks that can be decoded now and were not given before."""
        return self._give(self.active)

    def mapped(self, block: Block) -> list[Block]:
        """Take in that a block has its maps; give the blocks that this makes ready."""
        self._mapped.add(block)
        return self._give(self._near[block])

    def decoded(self, block: Block) -> list[Block]:
        """Take in that a block is decoded; give the blocks whose maps are spent by that."""
        self._decoded.add(block)
        return [near for near in self._near[block] if self._is_spent(near)]

    def _give(self, blocks: Iterable[Block]) -> list[Block]:
        found = [block for block in blocks if self._is_ready(block)]
        self._given.update(found)
        return found

    def _is_ready(self, block: Block) -> bool:
        if block in self._decoded or block in self._given:
            return False
        return self._mapped.issuperset(self._near[block])

    def _is_spent(self, block: Block) -> bool:
        return self._decoded.issuperset(self._near[block])


def _around(block: Block) -> Iterable[Block]:
    """Give a block and the eight places around it, row by row."""
    return (Block(block.row + y, block.column + x) for y, x in product((-1, 0, 1), repeat=2))
