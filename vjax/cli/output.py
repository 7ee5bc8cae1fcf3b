"""Output that several commands share."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vjax.text import format_table, printable, shorten, terminal_width, wrap

_METRICS = (
    "clip@1",
    "video@1",
    "video@5",
    "mean_class",
    "loss",
    "calibration_error",
    "temperature",
    "calibrated_error",
    "chance",
    "num_videos",
    "bad_videos",
    "bad_train_videos",
    "bad_val_videos",
)
_SHOWN_CLASSES = 30
_SHOWN_WRONG = 10


def print_result(result: Mapping[str, Any]) -> None:
    """Prints a result: metrics, how far they can be trusted, their protocol, each class, and the wrong videos."""
    width = terminal_width()
    for paragraph in _paragraphs(result, width):
        print(printable(paragraph))


def _paragraphs(result: Mapping[str, Any], width: int) -> Iterator[str]:
    yield format_table(["result", "value"], [[name, result[name]] for name in _METRICS if name in result])
    yield ""
    if "video@1_interval" in result:  # results of older versions have none
        low, high = result["video@1_interval"]
        of_groups = f" of {result['num_groups']} groups" if result.get("num_groups") else ""
        said = f"(95 % interval, {result['num_videos']} test videos{of_groups})"
        yield wrap(f"video@1 lies between {low:.3f} and {high:.3f} {said}", width=width)
    for note in result.get("notes", ()):
        yield wrap(note, width=width)
    yield "\n" + wrap(result["protocol"], width=width)
    if "confusion" in result:  # results of older versions have none
        yield "\n" + class_table(result, width=width)
        yield from wrong_lines(result, width=width)


def class_table(result: Mapping[str, Any], *, width: int) -> str:
    """Returns the confusion matrix as a table, or one line for each class if the matrix is wider than `width` columns.

    Of many classes, only the least accurate ones are shown.

    Args:
      result: content of `result.json`.
      width: columns of the terminal.
    """
    names, confusion, accuracy = result["class_names"], np.array(result["confusion"]), result["class_accuracy"]
    matrix = format_table(
        ["label \\ predicted", *names, "accuracy"],
        [[name, *map(int, counts), accuracy[name]] for name, counts in zip(names, confusion, strict=True)],
    )
    if max(map(len, matrix.splitlines())) <= width:
        return matrix
    # One line for each class: all classes in their order, or the least accurate ones of many.
    shown = list(range(len(names)))
    if len(names) > _SHOWN_CLASSES:
        known = [i for i in shown if accuracy[names[i]] is not None]
        shown = sorted(known, key=lambda i: accuracy[names[i]])[:_SHOWN_CLASSES]
    headings = ["label", "videos", "accuracy", "most often taken for"]
    widest = (width - len(f"|  | {headings[1]} | {headings[2]} |  |")) // 2  # of the two columns with names
    rows = []
    for label in shown:
        wrong = np.where(np.arange(len(names)) == label, 0, confusion[label])
        other = int(wrong.argmax())
        count = f" ({wrong[other]})"
        taken = shorten(names[other], widest - len(count)) + count if wrong[other] else None
        rows.append([shorten(names[label], widest), int(confusion[label].sum()), accuracy[names[label]], taken])
    table = format_table(headings, rows)
    if len(shown) == len(names):
        return table
    return f"{table}\nThese are the {len(shown)} least accurate of {len(names)} classes."


def reliability_table(result: Mapping[str, Any]) -> str:
    """Returns how often a network is right where it is how sure: a row for each bin of probability with videos."""
    keys = ("num_videos", "probability", "accuracy")
    rows = [[f"{row['above']:.1f} to {row['up_to']:.1f}", *map(row.get, keys)] for row in result["reliability"]]
    return format_table(["predicted with", "videos", "mean probability", "accuracy"], rows)


def probe_tables(found: Mapping[str, Any], result: Mapping[str, Any], *, width: int) -> str:
    """Returns what a network loses by each probe, overall and for each class, and the verdict.

    Args:
      found: what `describe_probes` returns.
      result: content of `result.json`.
      width: columns of the terminal.
    """
    rows = [["normal", result["video@1"], None, None]]
    for name, probe in found["probes"].items():
        rows.append([name, probe["video@1"], probe["drop"], "{:.3f} to {:.3f}".format(*probe["drop_interval"])])
    tables = [format_table(["frames", "video@1", "drop", "95 % interval"], rows)]
    # The classes that lose most by a frozen frame; the column `needs` rests on the two probes that are shown.
    columns = ["videos", "normal", "shuffled", "frozen", "needs"]
    widest = width - len(f"|  | {' | '.join(columns)} |") - len("not known") + len("needs")  # of the names
    classes = sorted(found["classes"].items(), key=lambda item: item[1]["frozen"] - item[1]["normal"])[:_SHOWN_CLASSES]
    keys = ["num_videos", *columns[1:]]
    table = format_table(["label", *columns], [[shorten(name, widest), *map(of.get, keys)] for name, of in classes])
    if len(classes) < len(found["classes"]):
        table += f"\nThese are the {len(classes)} of {len(found['classes'])} classes that lose most on frozen frames."
    return "\n\n".join([*tables, table, "\n".join(wrap(line, width=width) for line in found["verdict"])])


def wrong_lines(result: Mapping[str, Any], *, width: int) -> Iterator[str]:
    """Yields a line for each of the surest mistakes, below a line that counts all of them; none if there is none.

    Args:
      result: content of `result.json`.
      width: columns of the terminal.
    """
    wrong = result["wrong"]
    if wrong:
        yield f"\nwrong about {len(wrong):,} of {result['num_videos']:,} videos, the surest mistakes first:"
    for video in wrong[:_SHOWN_WRONG]:
        said = f"{video['name']}: {video['predicted']} ({video['probability']:.2f}), not {video['label']}"
        yield wrap(f"  {said}", width=width, hang=4)
