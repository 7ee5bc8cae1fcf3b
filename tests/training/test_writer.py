import io
import json

from vjax.training.writer import Console, JsonLines, TensorBoard, describe


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_json_lines_are_written_at_once(tmp_path):
    writer = JsonLines(tmp_path / "m.jsonl", start_step=0)
    writer.scalars(1, {"train/loss": 0.5})
    assert json.loads((tmp_path / "m.jsonl").read_text()) == {"step": 1, "train/loss": 0.5}


def test_a_resumed_run_drops_the_lines_it_will_write_again(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4, "tra')
    JsonLines(path, start_step=2).scalars(3, {"x": 1.0})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1},
        {"step": 2},
        {"step": 3, "x": 1.0},
    ]


def test_tensorboard_events_hold_the_tags(tmp_path):
    writer = TensorBoard(tmp_path, start_step=0)
    writer.scalars(1, {"train/loss": 0.5})
    writer.close()
    (events,) = tmp_path.iterdir()
    assert b"train/loss" in events.read_bytes()


def test_a_pipe_gets_plain_lines_with_the_time_left():
    stream = io.StringIO()
    console = Console(stream, start_step=0, num_steps=100)
    for step in (50, 100):
        console.advance(step)
        console.scalars(step, {"train/loss": 0.5, "train/clips_per_s": 120.0})
    console.close()
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("step 50/100  loss 0.500  120 clips/s")
    assert lines[1].endswith("0:00 left")
    assert "\r" not in stream.getvalue()


def test_a_terminal_gets_a_bar_and_evaluations_stay_on_lines_of_their_own():
    stream = Terminal()
    console = Console(stream, start_step=20, num_steps=100)
    console.advance(60)
    console.scalars(60, {"train/loss": 0.5})
    console.scalars(60, {"test/video@1": 0.75})
    console.close()
    assert "60/100" in stream.getvalue()
    assert "loss 0.500" in stream.getvalue()
    assert "step 60  test/video@1 0.750\n" in stream.getvalue()


def test_numbers_are_described_in_their_units():
    values = {"train/learning_rate": 0.00123, "train/data_wait": 0.25, "test/video@1": 0.5}
    assert describe(values) == "lr 0.0012  25% waiting for data  test/video@1 0.500"


def test_waiting_for_data_comes_with_what_to_do_about_it_only_where_it_matters():
    advice = "(reading is the bottleneck: run `vjax prepare`, or raise num_workers)"
    assert describe({"train/data_wait": 0.6}) == f"60% waiting for data {advice}"
    assert advice not in describe({"train/data_wait": 0.1})
