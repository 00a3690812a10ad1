"""The thesis' loss against its definition, written down slowly."""

from math import log

import numpy as np
import pytest
import torch
from test_heads_semantic import make

ALPHA, GAMMA, CLIP, SMOOTH = 0.25, 2, 1e-7, 1e-5


def slow_loss(logits, truth, counted):
    """Focal and Jaccard loss of (n, 2, h, w) logits and (n, h, w) masks, pixel by pixel."""
    elements, both, either = [], [0.0, 0.0], [0.0, 0.0]
    for n, y, x in np.ndindex(truth.shape):
        if not counted[n, y, x]:
            continue
        powers = np.exp(logits[n, :, y, x] - logits[n, :, y, x].max())
        for c, p in enumerate(powers / powers.sum()):
            g = float(truth[n, y, x] == c)
            clipped = min(max(p, CLIP), 1 - CLIP)
            elements.append(-g * ALPHA * (1 - clipped) ** GAMMA * log(clipped))
            both[c] += g * p
            either[c] += g + p - g * p
    jaccard = [(i + SMOOTH) / (u + SMOOTH) for i, u in zip(both, either, strict=True)]
    return sum(elements) / len(elements), 1 - sum(jaccard) / 2


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("strength", [0.5, 4, 60])
def test_the_loss_is_focal_and_jaccard(share, strength):
    random = np.random.default_rng(0)
    logits = strength * random.standard_normal((3, 2, 7, 9))
    truth, counted = random.random((3, 7, 9)) < share, random.random((3, 7, 9)) < 0.7
    found = make().loss(
        *(torch.from_numpy(a.astype(np.float64)) for a in (logits, truth[:, None], counted[:, None]))
    )
    assert found.item() == pytest.approx(sum(slow_loss(logits, truth, counted)), rel=1e-6)


def test_a_perfect_network_has_next_to_no_loss():
    truth = torch.zeros(1, 1, 8, 8)
    truth[..., :4] = 1
    logits = torch.cat([1 - truth, truth], 1) * 40
    assert make().loss(logits, truth, torch.ones_like(truth)).item() == pytest.approx(0, abs=1e-5)


def test_what_has_no_weight_gets_no_gradient():
    logits = torch.randn(2, 2, 8, 8, requires_grad=True)
    weight = (torch.arange(8) < 4).float().expand(2, 1, 8, 8)
    make().loss(logits, (torch.rand(2, 1, 8, 8) < 0.5).float(), weight).backward()
    assert (logits.grad[..., 4:] == 0).all()
    assert (logits.grad[..., :4] != 0).all()
