"""The doctor finds what would spoil a training, and nothing in a healthy data set."""

import json
import re
import shutil

import numpy as np
import pytest
from filmed_places import film
from made_videos import numbered_frames, write_video
from official_layouts import LAYOUTS
from processes import ROOT, command, error_line, in_this_process
from video_files import write_folder

from vjax.config_file import load_config
from vjax.data import doctor
from vjax.data.listing import list_manifest
from vjax.data.sources import list_dataset, open_source
from vjax.data.splits import SplitRule
from vjax.data.transforms import TrainView
from vjax.errors import InputError
from vjax.experiment import open_config_source
from vjax.ops.sampling import ClipTiming
from vjax.spec import Choice

VIEW = TrainView(ClipTiming(num_frames=4, fps=10.0), (16, 16))


@pytest.fixture(autouse=True)
def short_measurement(monkeypatch):
    monkeypatch.setattr(doctor, "_MEASURE_S", 0.05)


def examine(root, **kwargs):
    return doctor.examine({"name": "videos", "root": str(root), **kwargs}, VIEW, batch_size=8, rule=SplitRule())


def healthy(root):
    return write_folder(root, groups=[f"v{i:02d}" for i in range(10)])


def test_a_healthy_data_set_has_no_problems(tmp_path):
    found = examine(healthy(tmp_path / "v"))
    assert found.problems == []
    facts = found.facts
    assert (facts["num_videos"], facts["num_train"], facts["num_test"]) == (20, 16, 4)
    assert facts["classes"] == {name: {"train": 8, "val": 0, "test": 2} for name in ("fall", "rise")}
    assert facts["seconds"] == {"min": 1.2, "median": 1.2, "max": 1.2}
    assert facts["fps"]["median"] == 10.0
    assert facts["sizes"] == {"32 x 24": 20}
    assert facts["batch_bytes"] == 8 * 4 * 16 * 16 * 3
    assert facts["clips_per_s_per_core"] > 1
    assert found.page(width=80).endswith("problems:\nnone: the dataset is ready for training")


def problem(found, words):
    (line,) = [line for line in found.problems if words in line]
    return line


def test_files_that_cannot_be_read_are_listed_with_the_reason(tmp_path):
    root = healthy(tmp_path / "v")
    (root / "fall" / "bad.mp4").write_bytes(b"no video")
    found = examine(root)
    assert "1 video(s) cannot be read: " in problem(found, "cannot be read")
    assert "bad.mp4: no video can be opened (InvalidDataError" in problem(found, "cannot be read")
    assert [entry["name"] for entry in found.facts["unreadable"]] == ["fall/bad.mp4"]


def test_empty_classes_and_frames_are_listed_with_all_other_problems(tmp_path):
    root = healthy(tmp_path / "v")
    (root / "fall" / "bad.mp4").write_bytes(b"no video")
    (root / "fall" / "notes.txt").write_text("Filmed in the garden.")
    (root / "spin").mkdir()
    (root / "walk").mkdir()
    (root / "rise" / "eve").mkdir()
    for number in range(5):
        (root / "rise" / "eve" / f"{number}.jpg").touch()
    found = examine(root)
    assert problem(found, "spin").endswith("v/spin: the class folder is empty; put videos into it or remove it")
    assert problem(found, "walk").endswith("v/walk: the class folder is empty; put videos into it or remove it")
    assert "holds the frames of 1 video(s) as pictures" in problem(found, "ffmpeg -framerate 25 ")
    assert "1 video(s) cannot be read: " in problem(found, "cannot be read")
    assert len(found.problems) == 4
    assert found.facts["num_videos"] == 20


def test_a_folder_without_any_video_is_one_page_too(tmp_path):
    (tmp_path / "v" / "spin").mkdir(parents=True)
    found = examine(tmp_path / "v")
    assert found.problems == [f"{tmp_path}/v/spin: the class folder is empty; put videos into it or remove it"]
    assert found.facts["split"] == "none can be made"
    assert "\nsplit       none can be made\n" in found.page(width=80)


def test_videos_that_annotations_name_but_that_are_missing_are_not_unreadable_in_a_store_either(tmp_path):
    root = LAYOUTS["kinetics"](tmp_path / "kinetics")
    gone = sorted((root / "videos").rglob("*.mp4"))[0]
    gone.write_bytes(b"no video")
    command("vjax", "prepare", "kinetics", f"--source.root={root}", "--out", tmp_path / "store", "--workers", 0)
    pages = [
        doctor.examine({"name": "kinetics", "root": str(place)}, VIEW, batch_size=8, rule=SplitRule())
        for place in (root, tmp_path / "store")
    ]
    for found in pages:
        assert [len(found.facts[kind]) for kind in ("unreadable", "missing")] == [1, 2]
        assert "1 video(s) cannot be read: " in problem(found, "cannot be read")
        assert "2 video(s) that the annotations name are missing: " in problem(found, "are missing")
    assert list(pages[1].facts["classes"]) == ["falling things", "riseing things"]
    assert pages[0].facts["classes"] == pages[1].facts["classes"]


def test_a_video_that_a_manifest_lists_twice_is_a_problem_and_is_counted_as_it_is_listed(tmp_path):
    root = write_folder(tmp_path / "v", groups=["a", "b", "c"])
    rows = [
        f"{label}/{name}.mp4,{label},{split}"
        for label in ("fall", "rise")
        for name, split in (("a", "train"), ("b", "test"), ("c", "train"))
    ]
    (root / "m.csv").write_text("\n".join(["path,label,split", *rows, "fall/a.mp4,fall,test"]) + "\n")
    command("vjax", "prepare", root / "m.csv", "--out", tmp_path / "store", "--workers", 0)
    for place in (root / "m.csv", tmp_path / "store"):
        found = examine(place)
        assert found.facts["classes"] == {
            "fall": {"train": 2, "val": 0, "test": 2},
            "rise": {"train": 2, "val": 0, "test": 1},
        }
        assert (found.facts["num_videos"], found.facts["num_train"], found.facts["num_test"]) == (7, 4, 3)
        assert found.facts["listed_twice"] == {"fall/a.mp4": ["train", "test"]}
        assert found.problems == [
            "1 video(s) are listed more than once: fall/a.mp4 (train, test). List each one once; a video in train "
            "and in test makes the test result too high"
        ]


def test_videos_shorter_than_the_clip_are_listed(tmp_path):
    root = healthy(tmp_path / "v")
    write_video(root / "fall" / "short.mp4", numbered_frames(3), fps=10)
    write_video(root / "fall" / "enough.mp4", numbered_frames(4), fps=10)
    found = examine(root)
    assert found.facts["short"] == ["fall/short.mp4"]
    assert "1 video(s) are shorter than the clip (4 frames at 10 fps" in problem(found, "shorter")


def test_the_same_content_in_two_splits_is_found_in_files_and_stores(tmp_path):
    root = healthy(tmp_path / "v")
    for number in range(4):  # of four copies of one video some fall on each side
        shutil.copy(root / "fall" / "v00.mp4", root / "fall" / f"copy{number}.mp4")
    command("vjax", "prepare", root, "--out", tmp_path / "store", "--workers", 0)
    for place in (root, tmp_path / "store"):
        found = examine(place)
        assert len(found.facts["same_content"]) == 4
        assert found.facts["same_content_across_splits"]
        assert "have the same content in different splits: fall/" in problem(found, "in different splits")


@pytest.mark.parametrize(
    ("pattern", "groups", "kind"),
    [
        ("v_{label}_{group}_c01.avi", [f"g{i:02d}" for i in range(8)], "recording gNN"),
        ("{group}_{label}.mp4", ["ann", "bob", "cem", "dan", "eve", "fay"], "first word"),
    ],
)
def test_groups_on_both_sides_of_a_split_are_guessed_from_names(tmp_path, pattern, groups, kind):
    root = write_folder(tmp_path / "v", pattern=pattern, groups=groups)
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.rglob("*.*"))]
    half = len(rows) // 2  # all of one class train, but the first: torn in every group
    splits = ["train" if i % half < half - 2 + (i >= half) else "test" for i in range(len(rows))]
    lines = [f"{row},{split}" for row, split in zip(rows, splits, strict=True)]
    (root / "m.csv").write_text("\n".join(["path,label,split", *lines]) + "\n")
    found = examine(root / "m.csv")
    assert f"group(s) by {kind}" in problem(found, "by ")
    # The split of the manifest ignores the option, so the advice is another split.
    assert problem(found, "by ").endswith(
        "; a manifest path,label,split can give a split that keeps each group on one side"
    )


def test_the_advice_against_groups_on_both_sides_of_a_random_split_works(tmp_path):
    root = write_folder(tmp_path / "v", pattern="v_{label}_{group}_c01.mp4", groups=[f"g{i:02d}" for i in range(9)])
    command("vjax", "prepare", root, "--out", tmp_path / "store", "--workers", 0)
    for place in (root, tmp_path / "store"):
        line = problem(examine(place), "group(s) by recording gNN")
        pattern = re.search(r"; keep them together with --config.source.group='(.+?)' \(vjax split", line)[1]
        assert examine(place, group=pattern).problems == []


def test_no_option_is_advised_that_the_source_does_not_have(tmp_path):
    root = LAYOUTS["ucf101"](tmp_path / "ucf101")
    (lists,) = root.rglob("trainlist01.txt")
    tested = lists.with_name("testlist01.txt").read_text().splitlines()
    lists.write_text(lists.read_text() + f"{tested[0]} 1\n")
    found = doctor.examine({"name": "ucf101", "root": str(root)}, VIEW, batch_size=8, rule=SplitRule())
    assert "1 group(s) by the given group" in problem(found, "by the given group")
    assert not [line for line in found.problems if "--config.source.group" in line]


def test_groups_that_are_given_are_looked_at_first(tmp_path):
    root = write_folder(tmp_path / "v", groups=["a", "b", "c"])
    rows = [
        f"{label}/{name}.mp4,{label},{split},{name}"
        for label in ("fall", "rise")
        for name, split in (("a", "train"), ("b", "test"), ("c", "train"))
    ]
    (root / "m.csv").write_text("\n".join(["path,label,split,group", *rows]) + "\n")
    assert examine(root / "m.csv").problems == []
    rows[0] = rows[0].replace("train", "test")
    (root / "m.csv").write_text("\n".join(["path,label,split,group", *rows]) + "\n")
    found = examine(root / "m.csv")
    assert found.facts["groups_across_splits"] == ["a"]
    assert "1 group(s) by the given group are in different splits: a. " in problem(found, "given group")


def test_classes_without_videos_on_one_side_and_classes_out_of_balance_are_named(tmp_path):
    root = write_folder(tmp_path / "v", labels=("many",), groups=[f"v{i}" for i in range(9)])
    write_folder(tmp_path / "v", labels=("few",), groups=["v0"])
    found = examine(root)
    assert problem(found, "'few'") == "class 'few' has no readable video to test on: its accuracy will not be known"
    assert problem(found, "1 to 9 videos").startswith("the classes have 1 to 9 videos: look at the accuracy of each")


def test_a_page_with_long_names_and_many_problems_fits_its_columns(tmp_path):
    label = "pretending to put something behind something else so that nobody sees it again"
    root = write_folder(tmp_path / "v", labels=(label, "fall"), groups=[f"v{i}" for i in range(12)])
    shutil.copy(root / "fall" / "v0.mp4", root / label / "a copy of the video.mp4")
    page = examine(root).page(width=80)
    lines = page.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "videos      25 (20 train, 0 val, 5 test)"
    (row,) = [line for line in lines if line.startswith("| pretending to put")]
    assert len(row) >= 79
    assert row.split("|")[1].endswith("... ")
    (first,) = [number for number, line in enumerate(lines) if line.startswith("- 1 pair(s)")]
    assert lines[first + 1].startswith("  "), "the rest of a problem hangs"


def test_the_command_prints_one_page_and_writes_json(tmp_path):
    root = healthy(tmp_path / "v")
    words = ("vjax", "doctor", root, "--config", f"{ROOT}/configs/quickstart.py", "--json", tmp_path / "d.json")
    page = command(*words).stdout
    assert len(page.splitlines()) < 60
    assert max(map(len, page.splitlines())) <= 80
    facts = json.loads((tmp_path / "d.json").read_text())
    assert facts["clip"] == "8 frames at stride 1, 32 x 32"
    assert facts["problems"] == []


def test_the_split_is_that_of_the_config(tmp_path):
    root = write_folder(tmp_path / "v", pattern="{group}_{label}.mp4", groups=[f"v{i:02d}" for i in range(10)])
    config = f"{ROOT}/configs/folder.py:tiny"

    def facts(*words):
        in_this_process("vjax", "doctor", root, "--json", tmp_path / "d.json", *words)
        return json.loads((tmp_path / "d.json").read_text())

    found = facts("--config", config, "--config.test_share=0.5", "--config.seed=3", "--config.clip.size=8")
    words = "random, 50% of each class; validation split random, 10% of each class; without groups, seed 3"
    assert found["split"].startswith(words)
    assert found["clip"] == "8 frames at 5 fps, 8 x 8"
    assert found["num_test"] == 10
    group = r"--config.source.group=([^/]+)_\w+\.mp4"
    found = facts("--config", config, group, "--config.held_out=v03,v07")
    assert found["split"].startswith("held out: v03, v07; validation split random, 10% of each class; groups kept")
    assert found["classes"] == {name: {"train": 7, "val": 1, "test": 2} for name in ("fall", "rise")}
    # The same without a config file.
    assert "without groups, seed 4" in facts("--config.seed=4")["split"]


def test_an_option_of_another_source_than_the_examined_one_is_refused(tmp_path):
    root = healthy(tmp_path / "v")
    words = ("--config", f"{ROOT}/configs/quickstart.py", "--config.source.label=shape")
    line = error_line(in_this_process("vjax", "doctor", root, *words))
    assert f"--config.source.label=shape: {root} is a source 'videos', but the config has 'moving_shapes'; set " in line


def test_the_doctor_and_training_see_the_same_split(tmp_path):
    root = healthy(tmp_path / "v")
    config = load_config(f"{ROOT}/configs/folder.py", [f"--config.source.root={root}", "--config.seed=5"])
    source = open_config_source(config)
    found = doctor.examine(config.source, VIEW, batch_size=8, rule=config.split_rule)
    assert (found.facts["split"], found.facts["num_test"]) == (source.split, len(source.test))
    assert found.facts["num_val"] == len(source.val) > 0


def test_what_is_not_there_is_one_line(tmp_path):
    line = error_line(command("vjax", "doctor", tmp_path / "nowhere", check=False))
    assert "nowhere' does not exist; give a folder of class/video.ext, a manifest.csv, or a store" in line
    with pytest.raises(InputError, match=r"source 'videos' does not know 'rot'; did you mean 'root'"):
        doctor.examine({"name": "videos", "rot": "x"}, VIEW, batch_size=1, rule=SplitRule())


@pytest.fixture
def places(tmp_path):
    """A folder of videos of different places: two classes of six videos."""
    for number in range(12):
        folder = tmp_path / "v" / ("a" if number < 6 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        write_video(folder / f"v{number:02d}.mp4", film(number, number))
    return tmp_path / "v"


def write_manifest_of(root, tested):
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.rglob("*.mp4"))]
    lines = [f"{row},{'test' if row.split(',')[0] in tested else 'train'}" for row in rows]
    (root / "m.csv").write_text("\n".join(["path,label,split", *lines]) + "\n")
    return root / "m.csv"


def test_mirrored_and_encoded_copies_on_both_sides_of_a_split_are_found(places):
    write_video(places / "a" / "again.mp4", film(1, 1), pix_fmt="yuv420p", options={"crf": "28"})
    write_video(places / "b" / "mirror.mp4", np.ascontiguousarray(film(7, 7)[:, :, ::-1]))
    found = examine(write_manifest_of(places, {"a/again.mp4", "b/mirror.mp4", "a/v05.mp4"}))
    assert found.facts["near_copies"] == found.facts["near_copies_across_splits"] == [("a/again.mp4", "a/v01.mp4")]
    assert found.facts["mirrored_copies"] == [("b/mirror.mp4", "b/v07.mp4")]
    assert found.facts["same_content"] == []
    line = problem(found, "are near copies")
    assert line.startswith("1 pair(s) of videos are near copies in different splits: a/again.mp4 = a/v01.mp4. Remove")
    line = problem(found, "are mirrored copies")
    assert line.startswith("1 pair(s) of videos are mirrored copies in different splits: b/mirror.mp4 = b/v07.mp4. ")
    # The copies are said once: they are no torn places.
    assert found.facts["places_across_splits"] == []


def test_copies_in_one_split_are_named_too(places):
    write_video(places / "a" / "again.mp4", film(1, 1), pix_fmt="yuv420p", options={"crf": "28"})
    found = examine(write_manifest_of(places, {"a/v05.mp4", "b/v08.mp4"}))
    assert problem(found, "copies") == "1 pair(s) of videos are near copies in one split: a/again.mp4 = a/v01.mp4"


def write_of_one_place(root, count):
    """Writes videos of the place of the first one, in which others walk: they are small, so the scenes look alike."""
    for number in range(count):
        small = np.clip(0.6 * film(0, 0)[:1] + 0.4 * film(0, 20 + number), 0, 255).astype(np.uint8)
        write_video(root / f"v{20 + number}.mp4", small)


def test_a_split_that_tears_a_place_apart_is_warned_about(places):
    write_of_one_place(places / "b", 3)
    found = examine(write_manifest_of(places, {"b/v20.mp4", "a/v03.mp4"}))
    assert found.facts["places"] == {"like a/v00.mp4": 4}
    assert found.facts["near_copies"] == []
    line = problem(found, "one camera and place")
    assert line == (
        "1 group(s) of videos that seem to be of one camera and place are in different splits; the largest has 4 "
        "videos. The test result may be too high for videos of other places; the split is given: change it if that "
        "matters"
    )


def test_proposed_groups_are_written_as_a_manifest_which_a_split_respects(places, tmp_path):
    write_of_one_place(places / "b", 3)
    words = ("vjax", "doctor", places, "--config.test_share=0.4")
    page = in_this_process(*words, "--propose-groups", places / "g.csv")
    assert page.returncode == 0, page.stderr
    assert page.stdout.endswith(f"{places}/g.csv: 1 groups of 4 of 15 videos\n")
    files = list_manifest(places / "g.csv")
    assert {file.name for file in files if file.group == "like a/v00.mp4"} == {
        "a/v00.mp4",
        *(f"b/v{n}.mp4" for n in (20, 21, 22)),
    }
    assert {file.split for file in files} == {""}
    # The manifest and the option give the same groups, and no split tears them apart.
    for options in ({"root": str(places / "g.csv")}, {"root": str(places), "group": "auto"}):
        source = open_source(Choice("videos", **options), seed=3, test_share=0.4)
        sides = [{video.group for video in videos if video.group} for videos in (source.train, source.test)]
        assert sorted(map(len, sides)) == [0, 1]
        assert examine(**options).facts["groups_across_splits"] == []
    again = in_this_process(*words, "--propose-groups", places / "g.csv")
    assert "g.csv: the file exists; give another name, or remove it" in error_line(again)


def test_a_video_that_is_listed_twice_keeps_its_labels_and_splits_with_proposed_groups(places):
    rows = [f"{path.relative_to(places)},{path.parent.name},train" for path in sorted(places.rglob("*.mp4"))]
    (places / "m.csv").write_text("\n".join(["path,label,split", *rows, "a/v00.mp4,b,test"]) + "\n")
    files = list_dataset(Choice("videos", root=str(places / "m.csv"), group="auto", outside_root=False)).files
    assert [(file.label, file.split) for file in files if file.name == "a/v00.mp4"] == [("a", "train"), ("b", "test")]


def test_a_manifest_in_a_place_that_cannot_hold_it_is_refused_before_any_video_is_read(places, tmp_path):
    (tmp_path / "else").mkdir()
    done = in_this_process("vjax", "doctor", places, "--propose-groups", tmp_path / "else" / "g.csv")
    assert "g.csv: the videos lie outside of its folder; write the manifest next to them, into " in error_line(done)


def test_a_store_keeps_proposed_groups_and_has_no_manifest(places, tmp_path):
    write_of_one_place(places / "b", 2)
    for name, words in {"auto": ["--source.group=auto"], "none": []}.items():
        done = in_this_process("vjax", "prepare", places, *words, "--out", tmp_path / name, "--workers", 0)
        assert done.returncode == 0, done.stderr
    source = open_source(Choice("videos", root=str(tmp_path / "auto"), group="auto"), seed=0)
    assert sum(bool(video.group) for video in [*source.train, *source.test]) == 3
    with pytest.raises(
        InputError, match=r"none: the store was prepared without proposed groups; .*--source.group=auto, or leave"
    ):
        open_source(Choice("videos", root=str(tmp_path / "none"), group="auto"), seed=0)
    done = in_this_process("vjax", "doctor", tmp_path / "none", "--propose-groups", tmp_path / "g.csv")
    assert "none is a store, which has no files for a manifest; give the videos it was made of" in error_line(done)
