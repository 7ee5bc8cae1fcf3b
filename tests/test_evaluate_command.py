import numpy as np

from vjax.cli.evaluate import describe_classes, describe_wrong
from vjax.evaluation.evaluate import Evaluation


def test_a_confusion_matrix_that_fits_is_shown():
    text = describe_classes(("run", "walk"), np.array([[3, 1], [0, 0]]), {"run": 0.75, "walk": None}, width=80)
    assert text.splitlines() == [
        "| label \\ predicted | run | walk | accuracy |",
        "| ----------------- | --: | ---: | -------: |",
        "| run               |   3 |    1 |    0.750 |",
        "| walk              |   0 |    0 |        - |",
    ]


def test_one_that_is_too_wide_becomes_a_line_for_each_class_with_what_it_is_taken_for():
    names = tuple(f"class_{number:02d}" for number in range(20))
    confusion = np.diag([4] * 20)
    confusion[3, 7], confusion[3, 9] = 2, 1
    lines = describe_classes(names, confusion, dict.fromkeys(names, 0.5), width=80).splitlines()
    assert len(lines) == 22
    assert max(map(len, lines)) <= 80
    assert lines[5].split("|")[1:5] == [" class_03 ", "      7 ", "    0.500 ", "         class_07 (2) "]
    assert lines[6].split("|")[4].strip() == "-"


def test_the_surest_mistakes_are_named_first():
    probs = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.45, 0.55]], np.float32)
    found = Evaluation({}, np.array([1, 1, 1, 0]), probs)
    assert describe_wrong(["a", "b", "c", "d"], ("run", "walk"), found) == [
        "\nwrong about 3 of 4 videos, the surest mistakes first:",
        "  a: run (0.90), not walk",
        "  b: run (0.60), not walk",
        "  d: walk (0.55), not run",
    ]
    assert len(describe_wrong(["a", "b", "c", "d"], ("run", "walk"), found, most=1)) == 2


def test_where_all_is_right_nothing_is_named():
    assert describe_wrong(["a"], ("run", "walk"), Evaluation({}, np.array([0]), np.array([[0.9, 0.1]]))) == []
