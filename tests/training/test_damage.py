import pytest

from vjax.training import damage


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Five blocks in two files, and an empty file."""
    monkeypatch.setattr(damage, "_BLOCK", 10)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "arrays").write_bytes(bytes(range(25)))
    (tmp_path / "names").write_bytes(bytes(range(20)))
    (tmp_path / "empty").touch()
    damage.write_checksums(tmp_path)
    return tmp_path


def test_a_folder_as_it_was_written_has_no_changed_file(folder):
    assert damage.find_changed(folder, index=0, count=1) is None


@pytest.mark.parametrize("position", [0, 9, 10, 24])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_changed_byte_is_found_by_one_of_the_processes(folder, position, count):
    content = bytearray((folder / "d" / "arrays").read_bytes())
    content[position] ^= 128
    (folder / "d" / "arrays").write_bytes(content)
    found = [damage.find_changed(folder, index=index, count=count) for index in range(count)]
    assert found.count("d/arrays") == 1


def test_bytes_after_the_end_of_a_file_are_found(folder):
    (folder / "empty").write_bytes(b"x")
    assert damage.find_changed(folder, index=0, count=1) == "empty"


def test_of_a_very_large_state_a_sample_is_looked_at(folder, monkeypatch):
    monkeypatch.setattr(damage, "MOST_BLOCKS", 2)
    read, checksums = [], damage._checksums

    def counted(path, *, first):
        read.append((path.name, first))
        return checksums(path, first=first)

    monkeypatch.setattr(damage, "_checksums", counted)
    assert damage.find_changed(folder, index=0, count=1) is None
    assert len(read) == 2
