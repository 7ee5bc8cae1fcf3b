"""Writes docs/keys.md, the table of every key of a config: python docs/write_keys.py."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vjax import typed
from vjax.config import Config, check_config
from vjax.config_file import NO_DEFAULT, list_keys
from vjax.data.sources import SOURCES
from vjax.models import NETWORKS
from vjax.models.backbones import BACKBONES
from vjax.spec import Choice, Table
from vjax.training.optim import OPTIMIZERS

HEAD = """# Every key of a config

Set a key in a config file, or with `--config.KEY=VALUE` on the command line. `vjax config FILE` shows the values of a
config, `--explain` with these descriptions. This page is written by `python docs/write_keys.py`.
"""
# A choice brings the options of its name, which have tables of their own below.
CHOICES = {
    "source": ("Sources", SOURCES),
    "network": ("Networks", NETWORKS),
    "network.backbone": ("Backbones", BACKBONES),
    "optimizer": ("Optimizers", OPTIMIZERS),
}


def page() -> str:
    """Returns the page."""
    config = check_config(Config())
    of_choices = tuple(f"{key}." for key in CHOICES)
    keys = [(row.key, row.default, row.what) for row in list_keys(config) if not row.key.startswith(of_choices)]
    names = [
        (f"{key}.name", getattr(_get(config, key), "name", NO_DEFAULT), f"a name of the table {title} below")
        for key, (title, _) in CHOICES.items()
    ]
    parts = [HEAD, _table([*names, *keys])]
    for key, (title, table) in CHOICES.items():
        parts.append(f"## {title}\n\nOptions of `{key}`, by its name.\n")
        for name in table:
            parts.append(f"### `{name}`\n\n{_first_line(table, name)}\n\n{_table(list(_options(table, name)))}")
    return "\n".join(parts)


def _get(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.options[part] if isinstance(value, Choice) else getattr(value, part)
    return value


def _first_line(table: Table[Any], name: str) -> str:
    return (inspect.getdoc(table[name]) or "").splitlines()[0]


def _options(table: Table[Any], name: str) -> Iterator[tuple[str, Any, str]]:
    docs = typed.field_docs(table[name])
    for key, option in table.options(name).items():
        default = NO_DEFAULT if option.default is inspect.Parameter.empty else option.default
        yield key, default, docs.get(key) or typed.description(option.annotation)


def _table(rows: list[tuple[str, Any, str]]) -> str:
    lines = ["| key | default | what it is |", "| --- | --- | --- |"]
    for key, default, what in rows:
        shown = default.name if isinstance(default, Choice) else repr(default)
        shown = "must be given" if default is NO_DEFAULT else f"`{shown}`"
        lines.append(f"| `{key}` | {shown} | {what.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("keys.md").write_text(page())
