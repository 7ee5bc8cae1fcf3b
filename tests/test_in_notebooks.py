"""What a notebook shows of a source, clips, an evaluation, predictions, a timeline and a run."""

import html.parser
import re

import numpy as np
import pytest

import vjax
from vjax.data.pages import LabelledClips
from vjax.data.video import Source, Video
from vjax.evaluation.evaluate import Evaluation
from vjax.evaluation.predict import Prediction, Predictions
from vjax.evaluation.timeline import Timeline

VOID = {"img"}


class Checker(html.parser.HTMLParser):
    """Checks that every element is closed, in order; collects the text."""

    def __init__(self):
        super().__init__()
        self.opened, self.text, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.opened.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.opened.pop() == tag

    def handle_data(self, data):
        if self.opened[-1] != "style":
            self.text.append(data)


def shown(thing):
    """Returns the tags and the text of what a notebook shows."""
    checker = Checker()
    checker.feed(thing._repr_html_())
    assert not checker.opened
    assert checker.tags[:2] == ["div", "style"]
    assert "script" not in checker.tags
    return checker.tags, " ".join(" ".join(checker.text).split())


def make_video(name, label, level=100):
    def read(indices):
        return np.full((len(indices), 24, 32, 3), level, np.uint8)

    return Video(name, label, 30, 15.0, read)


def test_a_source_is_a_table_of_classes_and_a_video_of_each():
    train = [make_video(f"{label}/{number}", label) for label in (0, 1) for number in range(3)]
    source = Source(("<b>walk", "run"), train, [make_video("t", 1)], "given by folders")
    tags, text = shown(source)
    assert text.startswith("7 videos of 2 classes, test split given by folders videos train val test")
    assert "<b>walk 3 0 0 run 3 0 1 all classes 6 0 1" in text
    assert tags.count("img") == 2
    assert len(source._repr_html_()) < 1e6


def test_a_source_of_records_shows_its_first_videos_and_no_labels():
    class Records:
        def __len__(self):
            return 1000

        def __getitem__(self, position):
            assert position < 10, "a notebook does not read all records"
            return make_video("r", position % 3)

    tags, text = shown(Source(("a", "b", "c"), Records(), Records(), "of the data set"))
    assert "all classes 1,000 0 1,000" in text
    assert tags.count("img") == 3


def test_clips_are_moving_pictures_with_their_classes():
    clips = np.random.default_rng(0).integers(0, 256, (3, 4, 8, 8, 3)).astype(np.uint8)
    tags, text = shown(LabelledClips(clips, ["a", "b", "a"]))
    assert text == "3 clips, 4 x 8 x 8 x 3 a b a"
    assert tags.count("img") == 3
    assert LabelledClips(clips, ["a", "b", "a"])._repr_html_().count("data:image/gif;base64,R0lGOD") == 3


def test_an_evaluation_has_its_interval_its_classes_and_what_is_taken_for_what():
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
    evaluation = Evaluation({"video@1": 0.75}, np.array([0, 0, 0, 1]), probs, class_names=("walk", "run"))
    _, text = shown(evaluation)
    assert text.startswith("75.0% of 4 videos are classified correctly (95 % interval 30.1% to 95.4%; chance 50.0%)")
    assert "walk run 1 of 3" in text
    unnamed = Evaluation({}, np.array([0, 1]), np.eye(2))
    assert "0 recognised: 1 of 1 videos" in shown(unnamed)[1]
    grouped = Evaluation({}, np.arange(40) % 2, np.eye(2)[np.arange(40) // 20], groups=("a",) * 20 + ("b",) * 20)
    alone = Evaluation({}, np.arange(40) % 2, np.eye(2)[np.arange(40) // 20])
    interval = re.compile(r"95 % interval ([\d.]+)% to")
    assert float(interval.search(shown(grouped)[1])[1]) <= float(interval.search(shown(alone)[1])[1])


def test_predictions_are_a_list_and_a_table():
    found = [Prediction(f"{n}.mp4", np.array([0.25, 0.75]), [], ("walk", "run")) for n in range(120)]
    predictions = Predictions(found)
    assert predictions == found
    tags, text = shown(predictions)
    assert text.startswith("Predictions for 120 videos; the first 100 are shown")
    assert "0.mp4 run 0.75 walk 0.25" in text
    assert tags.count("tr") == 101


def test_a_timeline_is_a_chart():
    timeline = Timeline(
        "x.mp4", np.arange(3.0), np.arange(3.0) + 2, np.eye(3), "x.mp4: breaks off", ("<walk>", "run", "sit")
    )
    tags, text = shown(timeline)
    assert text.startswith("x.mp4: 3 windows in 0:04 x.mp4: breaks off")
    assert "<walk> run sit" in text
    assert tags.count("polyline") == 3


@pytest.fixture(scope="module")
def trained(run_of_levels):
    return vjax.load(run_of_levels / "run")


def test_a_run_has_its_facts_its_result_and_its_curves(trained):
    tags, text = shown(trained)
    assert "video@1" in text
    assert "parameters" in text
    assert tags.count("polyline") > 3


def test_what_a_trained_network_returns_is_shown_with_its_classes(trained, run_of_levels):
    assert "fall" in shown(trained.evaluate())[1]
    assert "long.mp4" in shown(trained.predict([run_of_levels / "long.mp4"]))[1]
    assert "windows" in shown(trained.timeline(run_of_levels / "long.mp4"))[1]


def test_the_clips_of_training_are_shown_before_it(run_of_levels):
    words = [f"--config.source.root={run_of_levels / 'videos'}"]
    clips = vjax.build(vjax.load_config("folder:tiny", words)).training_clips(4)
    assert clips.clips.dtype == np.uint8
    assert set(clips.class_names) <= {"fall", "rise"}
    assert shown(clips)[0].count("img") == 4
