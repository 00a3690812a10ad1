"""What a summary tells whoever reads its numbers."""

import pytest

from wsiseg.run.summary import _made_for


@pytest.mark.parametrize(
    ("slide_mpp", "model_mpp", "named"),
    [
        (0.5, 0.25, ["nuclei-050"]),
        (0.45, 0.25, ["nuclei-050"]),
        (1.0, 0.25, ["nuclei-050"]),
        (1.0, 0.5, []),  # none is nearer
        (0.25, 0.25, []),
    ],
)
def test_an_enlarged_slide_is_told_of_the_model_that_is_made_for_it(slide_mpp, model_mpp, named):
    assert _made_for(slide_mpp, model_mpp) == named
