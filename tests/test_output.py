import numpy as np

from vjax.cli.output import class_table, print_result, probe_tables, reliability_table, wrong_lines


def make_result(class_names, confusion, *, wrong=()):
    """The part of a result that tells about classes and videos."""
    counts = np.array(confusion)
    accuracy = [row[i] / row.sum() if row.sum() else None for i, row in enumerate(counts)]
    return {
        "class_names": list(class_names),
        "class_accuracy": dict(zip(class_names, accuracy, strict=True)),
        "confusion": counts.tolist(),
        "num_videos": int(counts.sum()),
        "wrong": list(wrong),
    }


def test_a_confusion_matrix_that_fits_is_shown():
    assert class_table(make_result(("run", "walk"), [[3, 1], [0, 0]]), width=80).splitlines() == [
        "| label \\ predicted | run | walk | accuracy |",
        "| ----------------- | --: | ---: | -------: |",
        "| run               |   3 |    1 |    0.750 |",
        "| walk              |   0 |    0 |        - |",
    ]


def test_one_that_is_too_wide_becomes_a_line_for_each_class_with_what_it_is_taken_for():
    names = tuple(f"class_{number:02d}" for number in range(20))
    confusion = np.diag([4] * 20)
    confusion[3, 7], confusion[3, 9] = 2, 1
    lines = class_table(make_result(names, confusion), width=80).splitlines()
    assert len(lines) == 22
    assert max(map(len, lines)) <= 80
    assert lines[5].split("|")[1:5] == [" class_03 ", "      7 ", "    0.571 ", "         class_07 (2) "]
    assert lines[6].split("|")[4].strip() == "-"


def test_of_many_classes_the_least_accurate_are_shown_in_lines_that_fit():
    names = tuple(f"pretending to put thing {number} behind something that is large" for number in range(100))
    confusion = np.diag([100] * 100)
    for label in range(100):
        confusion[label, (label + 1) % 100] = label
    *lines, last = class_table(make_result(names, confusion), width=80).splitlines()
    assert len(lines) == 32
    assert max(map(len, lines)) <= 80
    assert lines[2].split("|")[2:4] == ["    199 ", "    0.503 "]
    assert last == "These are the 30 least accurate of 100 classes."


def mistake(name, probability=0.9):
    return {"name": name, "label": "walk", "predicted": "run", "probability": probability}


def test_the_first_wrong_videos_are_named():
    result = make_result(("run", "walk"), [[5, 0], [12, 0]], wrong=[mistake(f"walk/{i}.mp4") for i in range(12)])
    lines = list(wrong_lines(result, width=80))
    assert lines[:2] == [
        "\nwrong about 12 of 17 videos, the surest mistakes first:",
        "  walk/0.mp4: run (0.90), not walk",
    ]
    assert len(lines) == 11


def test_where_all_is_right_nothing_is_named():
    assert not list(wrong_lines(make_result(("run", "walk"), [[5, 0], [0, 5]]), width=80))


def test_a_result_is_printed_in_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    words = {"protocol": "mean of softmax over opinions; " * 9, "notes": ["The network may have learned nothing. " * 5]}
    wrong = [mistake("walk/" + "a long name " * 9)]
    result = make_result(("run", "walk"), [[5, 0], [1, 0]], wrong=wrong) | words
    print_result(result | {"video@1": 0.8, "video@1_interval": [0.123, 0.987]})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith("    "), "the rest of a long line hangs"


def test_a_name_that_is_not_utf8_and_a_result_of_an_older_version_are_printed(capsys):
    print_result(make_result(("run", "walk"), [[0, 1], [0, 0]], wrong=[mistake("walk/\udcff.mp4")]) | {"protocol": ""})
    assert r"walk/\udcff.mp4: run (0.90), not walk" in capsys.readouterr().out
    print_result({"video@1": 0.5, "num_videos": 10, "protocol": "5 clips"})
    assert capsys.readouterr().out.endswith("\n\n\n5 clips\n")


def test_a_row_says_how_often_a_network_is_right_where_it_is_how_sure():
    row = {"above": 0.9, "up_to": 1.0, "num_videos": 12, "probability": 0.97, "accuracy": 0.75}
    assert reliability_table({"reliability": [row]}).splitlines()[2:] == [
        "| 0.9 to 1.0     |     12 |            0.970 |    0.750 |"
    ]


def test_of_many_classes_those_are_shown_that_lose_most_on_frozen_frames_and_all_fit_80_columns():
    probe = {"video@1": 0.5, "drop": 0.4, "drop_interval": [0.3, 0.5]}
    classes = {
        f"a class of long name {i}": {
            "num_videos": 100,
            "normal": 1.0,
            "shuffled": 0.5,
            "frozen": i / 40,
            "needs": "not known",
        }
        for i in range(40)
    }
    found = {"probes": {"shuffled": probe}, "classes": classes, "verdict": ["This network needs the order."]}
    text = probe_tables(found, {"video@1": 0.9}, width=80)
    assert "| shuffled |   0.500 | 0.400 | 0.300 to 0.500 |" in text
    shown = [line for line in text.splitlines() if "a class" in line]
    assert len(shown) == 30
    assert "long name 0 " in shown[0]
    assert "long name 29 " in shown[-1]
    assert "These are the 30 of 40 classes that lose most on frozen frames.\n\nThis network needs the order." in text
    assert max(map(len, text.splitlines())) <= 80
