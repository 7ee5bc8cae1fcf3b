"""Folds of a cross-validation."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjax.data.folds import draw_folds
from vjax.data.listing import VideoFile
from vjax.data.splits import SplitRule, group_of
from vjax.errors import InputError

RULE = SplitRule(seed=3)


def make_files(labels, groups, splits=()):
    """Files named 0, 1, 2, ... with these labels, groups and splits."""
    splits = splits or [""] * len(labels)
    rows = enumerate(zip(labels, groups, splits, strict=True))
    return [VideoFile(Path(str(i)), str(i), label, split, group) for i, (label, group, split) in rows]


def of_every_kind(num_groups, *, labels=("a", "b", "c"), each=2):
    """Files of each label in each group."""
    pairs = [(label, f"g{group}") for group in range(num_groups) for label in labels for _ in range(each)]
    return make_files(*zip(*pairs, strict=True))


def names_to_test(fold):
    return {file.name for file in fold.files if file.split == "test"}


@settings(deadline=None)  # the first example imports scikit-learn
@given(num_groups=st.integers(2, 12), num_folds=st.integers(2, 12), seed=st.integers(0, 100), each=st.integers(1, 3))
def test_every_video_is_tested_once_and_never_beside_its_group(num_groups, num_folds, seed, each):
    files = of_every_kind(num_groups, each=each)
    folds = draw_folds(files, num_folds=min(num_folds, num_groups), rule=SplitRule(seed))
    assert len(folds) == min(num_folds, num_groups)
    assert Counter(name for fold in folds for name in names_to_test(fold)) == Counter(file.name for file in files)
    for fold in folds:
        assert [file.name for file in fold.files] == [file.name for file in files]
        splits = {(group_of(file), file.split) for file in fold.files}
        assert len(splits) == num_groups
        assert {file.split for file in fold.files} == {"train", "test"}


def test_folds_have_as_many_videos_of_each_class():
    files = make_files(["a"] * 30 + ["b"] * 10, [""] * 40)
    for fold in draw_folds(files, num_folds=5, rule=RULE):
        tested = Counter(file.label for file in fold.files if file.split == "test")
        assert tested == {"a": 6, "b": 2}


def test_a_fold_for_each_group_has_the_name_of_the_group():
    folds = draw_folds(of_every_kind(3), num_folds="group", rule=RULE)
    assert [fold.name for fold in folds] == ["g0", "g1", "g2"]
    for fold in folds:
        assert {file.group for file in fold.files if file.split == "test"} == {fold.name}


def test_the_seed_decides_about_the_folds():
    files = make_files(["a", "b"] * 20, [""] * 40)
    first, again, other = (draw_folds(files, num_folds=4, rule=SplitRule(seed)) for seed in (0, 0, 1))
    assert first == again
    assert list(map(names_to_test, first)) != list(map(names_to_test, other))


def test_a_validation_split_is_drawn_from_the_training_videos_of_each_fold():
    files = of_every_kind(10)
    folds = draw_folds(files, num_folds=5, rule=SplitRule(seed=0, val_share=0.25))
    for fold in folds:
        groups = {split: {f.group for f in fold.files if f.split == split} for split in ("train", "val", "test")}
        assert len(groups["val"]) in (2, 3)
        assert len(groups["test"]) == 2
        assert not groups["val"] & (groups["train"] | groups["test"])


def test_a_given_split_and_a_split_to_keep_or_hold_out_play_no_role():
    files = of_every_kind(4)
    given_split = make_files(
        [file.label for file in files],
        [file.group for file in files],
        ["test" if file.group == "g0" else "train" for file in files],
    )
    rule = SplitRule(seed=3, held_out="g1")
    assert draw_folds(given_split, num_folds=4, rule=rule) == draw_folds(files, num_folds=4, rule=RULE)


BAD = {
    "one group": (of_every_kind(1), 2, r"all 6 videos are of one group, 'g0'; add videos of other groups"),
    "no video": ([], 2, r"no folds can be made: no video can be read"),
    "one class": (make_files("aaa", [""] * 3), 2, r"all 3 videos are of one class, 'a'; add videos of other classes"),
    "small classes": (
        make_files("aaabbb", [""] * 6),
        4,
        r"4 folds need a class with as many videos, and the largest has 3; ask for 3 folds or fewer",
    ),
    "one fold": (of_every_kind(3), 1, r"needs 2 folds or more, got 1"),
    "few groups": (of_every_kind(3), 4, r"4 folds need as many groups or more, and there are 3; ask for 3 folds or"),
    "few videos": (make_files("aabb", [""] * 4), 5, r"5 folds need as many videos or more, and there are 4"),
    "no groups": (make_files("aabb", ["", "g", "g", "h"]), "group", r"these have none: 0; set the source's option gro"),
    "a class in one group": (
        make_files("aabbc", ["g", "h", "g", "h", "h"]),
        "group",
        r"all of class 'c' is in group 'h', so the fold that tests it has none of the class to train on",
    ),
    "a class of one video": (make_files("aab", [""] * 3), 2, r"all of class 'b' is in video '2'"),
    "torn groups": (
        make_files("abab", ["g", "g", "h", "h"], ["train", "test", "train", "train"]),
        2,
        r"group g has videos in test and train of the given split, so the groups and the split contradict each other",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_data_that_cannot_be_divided_is_refused_in_one_line(case):
    files, num_folds, message = BAD[case]
    with pytest.raises(InputError, match=message):
        draw_folds(files, num_folds=num_folds, rule=RULE)


def test_a_fold_that_would_test_all_of_a_class_is_refused():
    # The group with most videos is tested by one of the two folds, and each class has one other group.
    files = make_files([*"a" * 20, *"bba"], [*["big"] * 20, *"xyx"])
    with pytest.raises(InputError, match=r"fold \d of 2 tests all videos of class '.', because the groups are few and"):
        draw_folds(files, num_folds=2, rule=RULE)
