"""Sessions do not mix: what one browser has sent and got is not there for another."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from rskt_seg.app.limits import Limits
from rskt_seg.app.results import Result
from rskt_seg.app.segmenting import Stopped, watched
from rskt_seg.app.sessions import SessionError, Sessions
from rskt_seg.geo.area import measure_classes
from rskt_seg.legend import Legend

ANN, BEN = "a" * 43, "b" * 43
LEGEND = Legend.of(["road", "tree"])


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sessions(tmp_path, clock):
    return Sessions(tmp_path, Limits(sessions=2, idle_seconds=100), clock)


def result(folder, ids=None):
    ids = np.array([[0, 0, 0, 1]], np.uint8) if ids is None else ids
    file = folder / "map_ids.tif"
    file.write_bytes(b"pixels")
    valid = np.ones(ids.shape, bool)
    return Result(
        np.full((*ids.shape, 3), 100, np.uint8), ids, np.array([[0, 127, 254, 255]], np.uint8), LEGEND,
        measure_classes(ids, valid, ("road", "tree"), None), None, (), {"ids": file},
    )  # fmt: skip


def test_a_result_is_for_its_browser_and_its_address_alone(sessions):
    ann, ben = sessions.enter("1", ANN), sessions.enter("2", BEN)
    for session in (ann, ben):
        session.result = result(session.new_folder("results"))
    name = "map_ids.tif"
    assert sessions.find_result(ann.token, name, ANN) == ann.result.files["ids"]
    assert sessions.find_result(ben.token, name, BEN) == ben.result.files["ids"]
    for token, file, owner in [
        (ann.token, name, BEN), (ann.token, name, ""), (ben.token, name, ANN), ("", name, ANN),
        (ann.token, f"../{name}", ANN), (ann.token, f"../../{ben.token}/results/{name}", ANN),
    ]:  # fmt: skip
        assert sessions.find_result(token, file, owner) is None
    assert len(ann.token) >= 32 and ann.token != ben.token and ann.folder.name == ann.token
    assert ann.folder.stat().st_mode & 0o077 == 0


def test_a_session_is_for_the_browser_that_opened_it(sessions):
    assert sessions.enter("1", ANN) is sessions.enter("1", ANN)
    with pytest.raises(SessionError, match="someone else"):
        sessions.enter("1", BEN)
    assert sessions.may_use("1", ANN) and not sessions.may_use("1", BEN) and sessions.may_use("new", BEN)
    for key, owner in ((None, ANN), ("1", ""), ("", ANN)):
        with pytest.raises(SessionError, match="cookie"):
            sessions.enter(key, owner)


def test_what_is_left_is_deleted_and_what_runs_is_stopped(sessions):
    ann = sessions.enter("1", ANN)
    ann.result = result(ann.new_folder("results"))
    sessions.leave("1")
    sessions.leave("1")
    sessions.leave(None)
    assert not ann.folder.exists() and ann.stop.is_set() and ann.result is None
    assert sessions.enter("1", ANN).token != ann.token
    sessions.close()
    assert not list(sessions.root.iterdir())


def test_there_is_room_for_so_many_and_the_idle_make_room(sessions, clock):
    ann, ben = sessions.enter("1", ANN), sessions.enter("2", BEN)
    with pytest.raises(SessionError, match="2 pages are open, as many as this server takes"):
        sessions.enter("3", BEN)
    clock.now = 60
    sessions.enter("2", BEN)
    clock.now = 120
    with ann.running, pytest.raises(SessionError, match="2 pages"):  # who waits for a scene is not idle
        sessions.enter("3", BEN)
    assert sessions.enter("3", BEN).folder.exists()
    assert not ann.folder.exists() and ben.folder.exists()


def test_messages_name_no_folder_of_the_server(sessions):
    ann = sessions.enter("1", ANN)
    path = ann.new_folder("upload") / "a.tif"
    assert ann.tell(OSError(f"cannot read {path}:\n empty")) == "cannot read a.tif: empty"


def test_a_picture_shows_the_chosen_classes_in_the_chosen_opacity(tmp_path):
    shown = result(tmp_path)
    colors = shown.legend.colors
    full = shown.draw((0, 1), 1.0, "classes")
    np.testing.assert_array_equal(full[0], colors[[0, 0, 0, 1]])
    np.testing.assert_array_equal(shown.draw((), 1.0, "classes"), shown.image)
    np.testing.assert_array_equal(shown.draw((1,), 1.0, "classes")[0, :3], shown.image[0, :3])
    half = shown.draw((0, 1), 0.5, "classes")[0, 0].astype(int)
    assert np.abs(half - (colors[0].astype(int) + 100) / 2).max() <= 1
    np.testing.assert_array_equal(shown.draw((0, 1), 1.0, "image"), shown.image)
    sure = shown.draw((0, 1, 7, -1), 1.0, "confidence")[0]
    assert tuple(sure[0]) == (68, 1, 84) and tuple(sure[2]) == (253, 231, 37)
    assert len({int(x) for x in sure[3]}) == 1  # grey: no data
    np.testing.assert_array_equal(shown.draw((1,), 1.0, "confidence")[0, :3], shown.image[0, :3])
    assert shown.present == (0, 1)
    nothing = replace(shown, areas=measure_classes(shown.ids * 0 + 1, shown.ids < 9, ("road", "tree"), None))
    assert nothing.present == (1,)


def test_a_watched_work_tells_how_far_it_is_and_ends_when_it_should(tmp_path):
    made, stop = result(tmp_path), threading.Event()

    def work(watch):
        for share in (0.0, 0.5, 1.0):
            watch.tell(share)
        return made

    *shares, last = watched(work, threading.Event())
    assert last is made and shares == sorted(shares)
    stop.set()
    with pytest.raises(Stopped):
        list(watched(work, stop))
    left, begun = threading.Event(), threading.Event()

    def endless(watch):
        while True:
            watch.tell(0.0)
            begun.set()

    working = watched(endless, left)
    assert next(working) == 0.0 and begun.wait(30)
    working.close()
    assert left.is_set()
