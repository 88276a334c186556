"""Files that are written whole or not at all."""

import os
import threading

import pytest

from rskt_seg.writing import replacing, replacing_with_companions

COMPANIONS = (".aux.xml", ".ovr")


def test_a_file_takes_its_name_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as partial:
        partial.write_text("first")
        assert not path.exists() and partial.parent == path.parent
    assert path.read_text() == "first"
    with replacing(path) as partial:
        partial.write_text("second")
        assert path.read_text() == "first"
    assert path.read_text() == "second"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("first")
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:
        partial.write_text("sec")
        raise KeyboardInterrupt
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "never"):
        pass
    assert list(tmp_path.iterdir()) == [path]


def test_writers_at_the_same_time_do_not_mix(tmp_path):
    path, gate = tmp_path / "a.txt", threading.Barrier(4)

    def write(letter: str) -> None:
        with replacing(path) as partial:
            partial.write_text(letter * 100)
            gate.wait()
            partial.write_text(letter * 200)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in {letter * 200 for letter in "abcd"}
    assert list(tmp_path.iterdir()) == [path]


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def write_with_companion(path, text):
    with replacing_with_companions(path, COMPANIONS) as partial:
        assert partial.name == path.name
        partial.write_text(text)
        partial.with_name(f"{partial.name}.aux.xml").write_text(f"about {text}")


def test_files_that_belong_together_take_their_names_together(tmp_path):
    path = tmp_path / "new" / "a.tif"
    write_with_companion(path, "first")
    assert contents(path.parent) == {"a.tif": "first", "a.tif.aux.xml": "about first"}
    write_with_companion(path, "second")
    assert contents(path.parent) == {"a.tif": "second", "a.tif.aux.xml": "about second"}


def test_companions_of_the_former_file_go_and_other_files_stay(tmp_path):
    for name in ("a.tif", "a.tif.aux.xml", "a.tif.ovr", "a.tif.txt", "b.tif.ovr"):
        (tmp_path / name).write_text("former")
    with replacing_with_companions(tmp_path / "a.tif", COMPANIONS) as partial:
        partial.write_text("new")
    assert contents(tmp_path) == {"a.tif": "new", "a.tif.txt": "former", "b.tif.ovr": "former"}


@pytest.mark.parametrize("failing", range(5))
def test_a_group_that_fails_at_any_step_leaves_what_was_there_and_nothing_else(
    tmp_path, monkeypatch, failing
):
    for name in ("a.tif", "a.tif.ovr", "a.tif.aux.xml"):
        (tmp_path / name).write_text("former")
    steps, replace = iter(range(100)), os.replace

    def fail_once(source, target):
        if next(steps) == failing:
            raise OSError("disk full")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_once)
    with (
        pytest.raises(OSError, match="disk full"),
        replacing_with_companions(tmp_path / "a.tif", COMPANIONS) as partial,
    ):
        partial.write_text("new")
        partial.with_name("a.tif.aux.xml").write_text("new")
        if failing == 4:  # after former and new of one companion, and former of the other, and the file
            raise OSError("disk full")
    assert contents(tmp_path) == dict.fromkeys(("a.tif", "a.tif.ovr", "a.tif.aux.xml"), "former")


def test_a_new_companion_goes_where_its_file_cannot_be_placed(tmp_path):
    (tmp_path / "a.tif").mkdir()
    with pytest.raises(OSError):
        write_with_companion(tmp_path / "a.tif", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
