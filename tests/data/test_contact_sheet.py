"""Contact sheets."""

import os

import numpy as np

from frex.data.contact_sheet import draw_contact_sheet


def test_a_name_that_is_no_unicode_is_written_with_marks_in_its_place():
    image = np.full((32, 32, 3), 128, np.uint8)
    name = os.fsdecode(b'a\xffb')
    np.testing.assert_array_equal(draw_contact_sheet([image], [name], size=32), draw_contact_sheet([image], ['a?b'], size=32))
