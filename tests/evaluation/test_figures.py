"""The pictures of a run, read back from what is drawn."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vjax.errors import InputError
from vjax.evaluation.figures import draw_confusion, draw_curves, write_figure


def names(num_classes):
    return [f"class {number}" for number in range(num_classes)]


def test_a_cell_s_colour_is_its_share_of_the_labels_videos_and_its_text_the_count():
    axes = draw_confusion([[8, 2, 0], [0, 1, 0], [0, 0, 0]], ["walk", "run", "wave"]).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.8, 0.2, 0], [0, 1, 0], [0, 0, 0]])
    assert {(text.get_position(), text.get_text()) for text in axes.texts} == {
        ((0, 0), "8"),
        ((1, 0), "2"),
        ((1, 1), "1"),
    }
    assert [label.get_text() for label in axes.get_yticklabels()] == ["walk", "run", "wave"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["walk", "run", "wave"]
    assert axes.get_ylabel() == "label"
    assert axes.get_title() == "9 of 11 videos are classified correctly"


@pytest.mark.parametrize("num_classes", [3, 11, 101, 400])
def test_every_class_has_its_name_in_a_size_that_can_be_read(num_classes):
    figure = draw_confusion(np.eye(num_classes, dtype=int), names(num_classes))
    labels = figure.axes[0].get_yticklabels()  # those of the left side first
    assert [label.get_text() for label in labels[:num_classes]] == names(num_classes)
    row_points = 72 * figure.get_figheight() / num_classes
    assert 4.5 < labels[0].get_fontsize() < row_points, "names are small, or one covers the next"


def test_of_more_classes_than_fit_some_are_named():
    labels = draw_confusion(np.eye(900, dtype=int), names(900)).axes[0].get_yticklabels()
    assert [label.get_text() for label in labels[:2]] == ["class 0", "class 3"]


def test_a_picture_is_a_png_file_whatever_the_names_of_the_classes_are(tmp_path, recwarn):
    write_figure(tmp_path / "c.png", draw_confusion([[1, 0], [0, 1]], ["$x^$", "\udcff" + "跑" * 50]))
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.format == "PNG"
        assert 200 < picture.width < 1000
    assert not recwarn.list


def test_a_place_that_cannot_be_written_to_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be written: Is a directory"):
        write_figure(tmp_path, draw_confusion([[1]], ["walk"]))


def test_curves_are_those_of_loss_accuracy_and_learning_rate_by_step():
    rows = [
        {"step": 0, "train/compile_s": 3.0},
        {"step": 10, "train/loss": 2.0, "train/clip@1": 0.25, "train/learning_rate": 0.1, "train/clips_per_s": 99.0},
        {"step": 20, "train/loss": float("nan"), "train/clip@1": 0.5, "train/learning_rate": 0.2},
        {"step": 20, "test/loss": 1.5, "test/video@1": 0.75, "val/mean_class": 0.5, "test/edit_distance": 7.0},
    ]
    curves = {
        axes.get_ylabel(): {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
        for axes in draw_curves(rows).axes
    }
    assert curves.pop("loss")["test/loss"] == [[20, 1.5]]
    assert curves == {
        "accuracy": {
            "train/clip@1": [[10, 0.25], [20, 0.5]], "test/video@1": [[20, 0.75]], "val/mean_class": [[20, 0.5]]
        },
        "other metrics": {"test/edit_distance": [[20, 7.0]]},
        "learning rate": {"train/learning_rate": [[10, 0.1], [20, 0.2]]},
    }  # fmt: skip


def test_without_numbers_there_is_an_empty_picture(tmp_path):
    write_figure(tmp_path / "c.png", draw_curves([]))
    assert (tmp_path / "c.png").exists()


def test_matplotlib_is_imported_only_when_a_picture_is_drawn():
    code = (
        "import sys, vjax.evaluation.figures as f; print('matplotlib' in sys.modules); f.draw_confusion([[1]], ['a'])"
    )
    code += "; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
