"""The board: whatever the order of work and of kills, every block is decoded, from maps that are still there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsiseg.run.board import Board
from wsiseg.tiling import Block

places = st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda place: Block(*place))
slides = st.sets(places, max_size=15).map(sorted)


def near(block, active):
    """The oracle: the block and those that touch it."""
    return {one for one in active if abs(one.row - block.row) <= 1 and abs(one.column - block.column) <= 1}


class World:
    """Does what the board allows, and holds what would lie on the disk."""

    def __init__(self, active):
        self.active = active
        self.maps, self.decoded, self.inferences = set(), set(), 0

    def board(self):
        return Board(self.active, self.decoded, self.maps.__contains__)

    def work(self, draw, board, steps):
        """Do up to so many steps in an order that `draw` chooses; tell whether nothing is left."""
        infer, decode = board.to_infer(), board.ready()
        for _ in range(steps):
            choices = [("infer", block) for block in infer] + [("decode", block) for block in decode]
            if not choices:
                break
            stage, block = draw(st.sampled_from(choices))
            if stage == "infer":
                infer.remove(block)
                self.maps.add(block)
                self.inferences += 1
                decode += board.mapped(block)
            else:
                decode.remove(block)
                assert near(block, self.active) <= self.maps, "decoded without the maps it needs"
                self.decoded.add(block)
                for spent in board.decoded(block):
                    self.maps.remove(spent)
        assert len(set(decode)) == len(decode)
        return not infer and not decode


@given(slides, st.data())
def test_any_order_decodes_every_block_once(active, data):
    world = World(active)
    board = world.board()
    assert world.work(data.draw, board, 1000)
    assert world.decoded == set(active)
    assert board.finished
    assert world.inferences == len(active)
    assert world.maps == set(), "maps that nobody needs are dropped"


@given(slides, st.data())
def test_any_kill_is_gone_on_from_without_work_done_twice(active, data):
    world = World(active)
    for _ in range(3):
        world.work(data.draw, world.board(), data.draw(st.integers(0, 8)))
    assert world.work(data.draw, world.board(), 1000)
    assert world.decoded == set(active)
    assert world.inferences == len(active)
    assert world.maps == set()


@given(slides, st.data())
def test_lost_files_are_made_again(active, data):
    world = World(active)
    world.work(data.draw, world.board(), data.draw(st.integers(0, 20)))
    world.maps = {block for block in world.maps if data.draw(st.booleans())}
    world.decoded = {block for block in world.decoded if data.draw(st.booleans())}
    assert world.work(data.draw, world.board(), 1000)
    assert world.decoded == set(active)


def test_a_block_is_given_out_once():
    left, right = Block(0, 0), Block(0, 1)
    board = Board([left, right])
    assert board.mapped(left) == []
    assert board.mapped(right) == [left, right]
    assert board.mapped(right) == []
    assert board.ready() == []


@pytest.mark.parametrize("active", [[], [Block(3, 3)]])
def test_few_blocks(active):
    board = Board(active)
    assert board.to_infer() == active
    assert board.finished == (not active)
