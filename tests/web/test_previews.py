"""What the page says of an image and its faces."""

from frex.restore.folder.report import FaceRecord, ImageRecord
from frex.web.previews import describe_face, describe_image

FACE = FaceRecord(score=0.987, size=161.6, yaw=-12.4, pitch=5.6, identity_similarity=0.512)
LEFT = FaceRecord(score=0.9, size=300.0, reason='it holds more detail')


def test_an_image_and_its_faces_are_described():
    record = ImageRecord(
        input='/x/a.png', status='restored', width=30, height=20, seconds={'read': 1.0, 'restore': 0.5}, notes=['no colours']
    )
    record.faces = [FACE, LEFT]
    text = describe_image(record)
    assert text.startswith('<b>a.png</b>: restored, 1 of 2 faces restored, 30 x 20 pixels, 1.5 s<ul><li>no colours</li></ul><table>')
    assert '<td>0</td><td>0.99</td><td>162</td><td>-12°</td><td>+6°</td><td>0.51</td><td>restored</td>' in text
    assert '<td>1</td><td>0.90</td><td>300</td><td>-</td><td>-</td><td>-</td><td>as it was: it holds more detail</td>' in text


def test_a_failure_is_described_without_the_folder_of_the_session():
    record = ImageRecord(input='/tmp/session/a.png', status='failed', reason='/tmp/session/a.png: 30 x 20 is not square')
    assert describe_image(record) == '<b>a.png</b>: failed<ul><li>30 x 20 is not square</li></ul>'


def test_names_and_notes_are_no_html():
    record = ImageRecord(input='/x/<img>.png', status='failed', reason='<b>', notes=['<i>'])
    assert '<img>' not in describe_image(record)
    assert '<li>&lt;b&gt;</li><li>&lt;i&gt;</li>' in describe_image(record)


def test_the_camera_of_a_face_is_said_in_words():
    assert describe_face(0, FACE) == "Face 0. Its camera: yaw -12° (sees the person's right side), pitch +6° (from above)."
    assert describe_face(1, LEFT) == 'Face 1 is as it was: it holds more detail'
