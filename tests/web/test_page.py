"""What the page does at an event, without a browser."""

import pytest

from frex.web.work import SMALL


@pytest.fixture
def page(work, sessions):
    pytest.importorskip('gradio', reason='gradio is not installed')
    from frex.web.page import Page

    return Page(work, sessions)


def restore(page):
    """Do what the button does, with the choices as they are at first; return the updates of the page."""
    import gradio

    return page._restore(gradio.Request(session_hash='tab'), SMALL, *(choice.value for choice in page.choices.values()))


def test_a_run_is_shown(page, session, upload):
    session.add(upload('a.png'))
    assert restore(page)[page.slider] == session.run.before_and_after(0)


def test_the_face_of_an_image_that_a_new_run_has_not_is_not_shown(page, session, upload):
    session.add(upload('a.png'))
    restore(page)
    assert page._show_face(session.run, 0, 0)
    assert page._show_face(session.run, 1, 0) == {}


def test_nothing_is_shown_where_all_is_removed_at_the_end_of_a_run(page, work, session, upload, monkeypatch):
    original = work.restore

    def restore_and_clear(*arguments, **choices):
        run = original(*arguments, **choices)
        session.clear()
        return run

    monkeypatch.setattr(work, 'restore', restore_and_clear)
    session.add(upload('a.png'))
    assert restore(page)[page.slider] is None
    assert session.run is None
