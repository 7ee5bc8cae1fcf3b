"""The section of a report that says what was trained on what, and how to repeat it."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vjax.config import Config
from vjax.config_file import NO_DEFAULT, PREFIX, list_keys, load_config, shipped_configs
from vjax.data.splits import SPLIT_FILE, SPLITS, count_videos
from vjax.html.page import Command, Section, Table
from vjax.json_files import read_json
from vjax.preprocessing import bind_preprocessing
from vjax.text import shorten
from vjax.trained import Trained

_CLASSES = 200  # of most rows
_WIDEST = 80  # characters of a value


def data_section(trained: Trained, result: Mapping[str, Any]) -> Section:
    """Returns the section of a run: facts, videos by class and split, the command, and the config.

    Args:
      trained: network of the run.
      result: content of `result.json`.
    """
    config, workdir = trained.config, trained.workdir
    facts = [
        *trained.facts(),
        *(result.get("versions") or {}).items(),
    ]
    rows = [row for row in list_keys(config) if row.value != row.default]
    differing = [(row.key, _said(row.value), _said(row.default)) for row in rows]
    return Section(
        "data",
        "What was trained on what",
        blocks=[
            Table("facts", ["", "value"], [(name, str(value)) for name, value in facts]),
            *_counts(workdir),
            Command(repeat_command(config)),
            Table("config", ["key of the config", "value", "default"], differing),
        ],
    )


def _counts(workdir: Path) -> Iterator[Table]:
    """Yields the number of videos by class and split, if the run has a list of its videos."""
    if not (workdir / SPLIT_FILE).exists():
        counts = read_json(workdir / "data.json")
        yield Table("videos", ["videos", *SPLITS], [("all", *(f"{counts[split]:,}" for split in SPLITS))])
        return
    found = count_videos(workdir / SPLIT_FILE)
    labels = sorted({label for label, _ in found})
    yield Table(
        "videos",
        ["videos", *SPLITS],
        [
            *((label, *(f"{found[label, split]:,}" for split in SPLITS)) for label in labels[:_CLASSES]),
            ("all classes", *(f"{sum(found[label, split] for label in labels):,}" for split in SPLITS)),
        ],
    )


def _said(value: Any) -> str:
    return "-" if value is NO_DEFAULT else shorten(repr(value), _WIDEST)


def repeat_command(config: Config) -> str:
    """Returns the command that trains a config again: the shipped config that differs least, and what differs."""
    best: tuple[str, list[str]] | None = None
    for name in shipped_configs():
        shipped, _ = bind_preprocessing(load_config(name))
        words = _differences(config, shipped)
        if best is None or len(words) < len(best[1]):
            best = name, words
    assert best is not None
    name, words = best
    return " ".join(["vjax train", "--config", name, *map(shlex.quote, words), "--workdir DIR"])


def _differences(config: Config, shipped: Config) -> list[str]:
    """Returns the overrides that make a config of a shipped one."""
    there = {row.key: row.value for row in list_keys(shipped)}
    rows = [row for row in list_keys(config) if row.key not in there or there[row.key] != row.value]
    return [f"{PREFIX}{row.key}={row.value}" for row in rows]
