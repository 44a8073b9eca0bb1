"""The encoders of films and their quality."""

import pytest

from frex.errors import FRExError
from frex.restore.film.formats import ENCODERS, find_encoder


@pytest.mark.parametrize('crf', [-1, 52])
def test_a_quality_out_of_range_is_refused(crf):
    with pytest.raises(FRExError, match=f'^--crf {crf}: must be 0 to 51 for h264$'):
        find_encoder('libx264', crf)


@pytest.mark.parametrize('crf', [None, 0, 51])
def test_a_quality_is_taken(crf):
    assert find_encoder('h264', crf).crf == (ENCODERS['h264'].crf if crf is None else crf)
