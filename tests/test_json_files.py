"""Files that are written completely or not at all."""

import os
import threading

import pytest

from vjax.errors import InputError
from vjax.json_files import GrowingCSV, check_writable, read_json, write_bytes, write_csv, write_json


def test_json_reads_back_as_it_was_written_and_its_folder_is_made(tmp_path):
    content = {"a": [1, 2.5, None], "ü": "日本"}
    write_json(tmp_path / "new" / "x.json", content)
    assert read_json(tmp_path / "new" / "x.json") == content
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.json"]


def test_a_file_that_several_threads_write_at_once_is_complete_at_any_time(tmp_path):
    path, contents = tmp_path / "x", [bytes([number]) * 200_000 for number in range(4)]
    write_bytes(path, contents[0])
    writers = [
        threading.Thread(target=lambda content=content: [write_bytes(path, content) for _ in range(20)])
        for content in contents
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() in contents
    assert [found.name for found in tmp_path.iterdir()] == ["x"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "x"
    write_bytes(path, b"old")
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match=r"x cannot be written: No space left on device"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["x"]


def test_a_table_is_written_whole_with_any_name_and_in_a_new_folder(tmp_path):
    write_csv(tmp_path / "new" / "x.csv", [("name", "n"), ('a "b", c\udcff', 3)])
    assert (tmp_path / "new" / "x.csv").read_bytes() == b'name,n\r\n"a ""b"", c\xff",3\r\n'


def test_what_stands_in_the_way_of_a_file_is_said_before_it_is_written(tmp_path):
    (tmp_path / "text").touch()
    with pytest.raises(InputError, match=r"x.npz cannot be written: .*(Not a directory|File exists)"):
        check_writable(tmp_path / "text" / "x.npz")
    with pytest.raises(InputError, match="cannot be written: Is a directory"):
        check_writable(tmp_path)
    check_writable(tmp_path / "new" / "x.npz")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_growing_table_has_all_rows_at_any_time(tmp_path):
    with GrowingCSV(tmp_path / "new/x.csv", ["a", "b"]) as table:
        for number in range(3):
            table.add((number, "x,y"))
            assert (tmp_path / "new/x.csv").read_text().splitlines()[-1] == f'{number},"x,y"'


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full, the disk that is always full")
def test_a_growing_table_on_a_full_disk_is_an_error_of_one_line(tmp_path):
    (tmp_path / "x.csv").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"x.csv cannot be written: No space left on device"):
        GrowingCSV(tmp_path / "x.csv", ["a"])
