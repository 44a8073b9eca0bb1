"""Recognize JPEG files whose last part is missing or is only zeros; decoders fill that part with grey and report no error."""

import re

START = b'\xff\xd8'
END = 0xD9
# The reason in messages for which such a file is not read.
CUT_JPEG = 'the end of the JPEG is missing'
# A marker with a length after it, or that of the end. In the coded data 0xFF is followed by 0, or by a marker without a length.
MARKER = re.compile(rb'\xff([^\x00\x01\xd0-\xd8\xff])')


def is_cut_jpeg(data: bytes) -> bool:
    """Return whether `data`, the content of a file, is a JPEG without the marker of its end; False for files of other kinds.

    The markers are searched from one segment to the next, so that the end of a thumbnail in the metadata does not count. A file with
    something after the end of the image, such as further images, is whole.
    """
    # Nearly all files end with the end marker (EOI), which cannot occur in coded data.
    if not data.startswith(START) or data.endswith(bytes((0xFF, END))):
        return False
    place = len(START)
    while marker := MARKER.search(data, place):
        if marker[1][0] == END:
            return False
        place = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], 'big')
    return True
