"""`vjax data-card`: the page that travels with a dataset."""

import re
from html import unescape

import pytest
from processes import error_line, in_this_process
from video_files import write_folder

from vjax.data import doctor


@pytest.fixture(autouse=True)
def _short_measurement(monkeypatch):
    monkeypatch.setattr(doctor, "_MEASURE_S", 0.05)


def card_of(root, out, *words):
    done = in_this_process("vjax", "data-card", root, "--out", out, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out)
    return unescape(out.read_text())


def rows(page):
    """The cells of each row of the page's tables."""
    found = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in re.findall(r"(?s)<tr>.*?</tr>", page))
    return {cells[0]: cells[1:] for cells in found}


def test_the_card_has_the_facts_the_classes_and_a_clip_of_each_class(tmp_path):
    root = write_folder(tmp_path / "clips", groups=[f"v{i:02d}" for i in range(10)])
    page = card_of(root, tmp_path / "card.html", "--config.clip.num_frames=4")
    assert "<h1>clips</h1>" in page
    assert "20 videos of 2 classes, 0.01 hours." in page
    assert rows(page)["fall"] == ["7", "1", "2", "10"]
    assert rows(page)["videos"] == ["20 (14 train, 2 val, 4 test)"]
    assert re.findall(r"data:image/gif[^>]*>\s*<figcaption>(\w+)", page) == ["fall", "rise"]
    assert "The doctor has found no problem." in page
    assert re.fullmatch(r"vjax [\w.]+( installed)?", rows(page)["examined with"][0])


@pytest.fixture
def with_a_broken_video(tmp_path):
    root = write_folder(tmp_path / "d", labels=("rid", "rise"))
    (root / "rid" / "bad.mp4").write_bytes(b"no video")
    return root


@pytest.mark.parametrize("given", ["{root}", "{root}/", "d", "./d", "manifest.csv", "store"])
def test_the_card_names_problems_and_no_path_of_the_machine(with_a_broken_video, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    videos = sorted(with_a_broken_video.rglob("*.mp4"))
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in videos]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,label", *rows]))
    if given == "store":
        done = in_this_process("vjax", "prepare", with_a_broken_video, "--out", "store")
        assert done.returncode == 0, done.stderr
    page = card_of(given.format(root=with_a_broken_video), tmp_path / "card.html")
    named = "d/rid/bad.mp4" if given == "manifest.csv" else "rid/bad.mp4"
    assert f"1 video(s) cannot be read: {named}: " in page
    assert str(tmp_path) not in page
    assert "d/d/" not in page


def test_the_card_names_no_place_of_a_split_that_was_kept(tmp_path):
    root = write_folder(tmp_path / "clips")
    assert in_this_process("vjax", "split", root, "--out", tmp_path / "clips" / "split.csv").returncode == 0
    page = card_of(root, tmp_path / "card.html", f"--config.keep_split={tmp_path}/clips/split.csv")
    assert "split.csv" in rows(page)["split"][0]
    assert str(tmp_path) not in page


@pytest.mark.parametrize(
    ("words", "said"),
    [([r"--source.group=([a-z]+)\.mp4$"], r"4 \(given\)"), ([], r"(none|\d+ \(proposed: videos that seem .*\))")],
)
def test_the_card_says_whether_groups_are_given_or_proposed(tmp_path, words, said):
    page = card_of(write_folder(tmp_path / "clips"), tmp_path / "card.html", *words)
    assert re.fullmatch(said, rows(page)["groups"][0])


def test_the_name_of_the_card_is_that_of_the_folder(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "clips")
    monkeypatch.chdir(root / "rise")
    assert "<h1>clips</h1>" in card_of("..", tmp_path / "card.html")


def test_names_of_classes_are_text(tmp_path):
    root = write_folder(tmp_path / "clips")
    (root / "rise").rename(root / "<b>rise")
    card_of(root, tmp_path / "card.html")
    assert "<b>rise" not in (tmp_path / "card.html").read_text()


def test_the_split_is_that_of_the_config(tmp_path):
    root = write_folder(tmp_path / "clips", groups=[f"v{i:02d}" for i in range(10)])
    page = card_of(root, tmp_path / "card.html", "--config.test_share=0.5", "--config.val_share=0")
    assert rows(page)["fall"] == ["5", "0", "5", "10"]


def test_a_page_that_cannot_be_written_is_refused_before_any_video_is_read(tmp_path):
    (tmp_path / "file").write_text("")
    done = in_this_process("vjax", "data-card", tmp_path / "nowhere", "--out", tmp_path / "file" / "card.html")
    assert "cannot be written" in error_line(done)
