"""Config files and overrides from the command line.

A config file is a Python file whose `get_config()` returns a `Config`; it sets only the keys that differ from the
defaults. A config that comes with vjax also has a name, such as "folder". `FILE:tiny` is the same config, made small
enough for a test; `FILE:NAME` calls another function of the file. `--config.a.b=value` sets any key, including keys
that the file does not set.
"""

import copy
import dataclasses
import inspect
import re
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from vjax import typed
from vjax.config import Config, InitFrom, check_config
from vjax.errors import InputError
from vjax.spec import Choice, Table, check_names

PREFIX = "--config."
NO_DEFAULT = object()


def load_config(name: str, overrides: Sequence[str] = ()) -> Config:
    """Loads the config of a file and applies overrides.

    Args:
      name: `FILE`, `FILE:tiny`, or `FILE:FUNCTION`; in place of `FILE` also the name of a config in `shipped_configs`.
      overrides: texts of the form `--config.key=value`, as on the command line.

    Raises:
      InputError: the file or the function is missing or fails, or a key or a value is wrong.
    """
    path, _, function = name.partition(":")
    file = Path(path) if Path(path).is_file() else shipped_configs().get(path, Path(path))
    return override_config(check_config(_call_config(file, function or "get_config")), overrides)


def override_config(config: Config, overrides: Sequence[str]) -> Config:
    """Returns a checked config with overrides applied; see `load_config`.

    Raises:
      InputError: a key or a value is wrong.
    """
    return check_config(_apply(typed.as_plain(config), overrides, Config, prefix=PREFIX))


def shipped_configs() -> dict[str, Path]:
    """Returns the config files that come with vjax, by name."""
    package = Path(__file__).parent
    # A wheel has them inside the package, a clone next to it.
    folder = package / "configs" if (package / "configs").is_dir() else package.parent / "configs"
    files = sorted([*folder.glob("[a-z]*.py"), *folder.glob("lecture/[a-z]*.py")])
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def override_choice(choice: Choice, table: Table[Any], overrides: Sequence[str], *, prefix: str) -> Choice:
    """Returns a checked choice with overrides applied to its options.

    Args:
      choice: name and options.
      table: table that the choice is made from.
      overrides: texts that consist of the prefix and `key=value`.
      prefix: first part of every override, such as "--source.".

    Raises:
      InputError: an option is unknown, a value does not fit, or an option without a default is missing.
    """
    annotation = Annotated[Choice, table]
    plain = _apply(typed.as_plain(choice), overrides, annotation, prefix=prefix)
    return typed.conform_choice(plain, table, what=prefix.strip("-."))


def make_tiny(config: Config) -> Config:
    """Returns a version of a config that is small enough for a test to train."""
    height, width = config.size
    scale = 16 / min(height, width)
    return dataclasses.replace(
        config,
        source=_with_options(config.source, num_train=16, num_test=8, num_val=8),
        clip=dataclasses.replace(config.clip, num_frames=8, size=(round(height * scale), round(width * scale))),
        network=_with_options(config.network, backbone=Choice("small", widths=(4, 8, 8))),
        optimizer=_with_options(config.optimizer, warmup=1),
        test=dataclasses.replace(config.test, num_clips=2, batch_size=8),
        init=InitFrom(),  # a test has no weights
        head_warmup=1 if config.head_warmup else 0,
        batch_size=8,
        length=4,
        log_every=1,
        evaluate_every=2,
        checkpoint_every=2,
    )


def _with_options(choice: Choice, **options: Any) -> Choice:
    """Returns a choice with new values for its options; ignores options that it does not have."""
    return Choice(choice.name, **{key: options.get(key, value) for key, value in choice.options.items()})


class Row(NamedTuple):
    """One key of a config.

    Attributes:
      key: path of the key, such as "clip.size".
      value: value in the config.
      default: value if neither the file nor the command line sets the key; `NO_DEFAULT` if one of them must set it.
      what: description of the key, from the docstring or the annotation that defines it.
    """

    key: str
    value: Any
    default: Any
    what: str


def list_keys(config: Config) -> list[Row]:
    """Returns every key of a checked config; the default of an option is that of the chosen name."""
    return _rows(Config, "", value=config, default=check_config(Config()), what="")


def _rows(annotation: Any, where: str, *, value: Any, default: Any, what: str) -> list[Row]:
    """Returns the rows of a choice, a section, or a single key."""
    start = f"{where}." if where else ""
    table = typed.table_of(annotation)
    if table is not None:
        options, docs = table.options(value.name), typed.field_docs(table[value.name])
        names = f"{what or 'a name and its options.'} One of: {', '.join(table)}."
        rows = [Row(f"{start}name", value.name, getattr(default, "name", None), names)]
        for key, option in value.options.items():
            annotation = options[key].annotation
            said = docs.get(key) or typed.description(annotation)
            rows += _rows(annotation, f"{start}{key}", value=option, default=options[key].default, what=said)
        return rows
    if _is_section(annotation):
        rows, docs = [], typed.field_docs(type(value))
        for key, inner in typed.field_types(type(value)).items():
            said, inner_default = docs.get(key, ""), getattr(default, key)
            rows += _rows(inner, f"{start}{key}", value=getattr(value, key), default=inner_default, what=said)
        return rows
    return [Row(where, value, NO_DEFAULT if default is inspect.Parameter.empty else default, what)]


def _call_config(path: Path, function: str) -> Config:
    """Runs a config file and returns what one of its functions returns."""
    if not path.is_file():
        names = ", ".join(shipped_configs())
        raise InputError(f"--config: there is no file {str(path)!r}; these configs come with vjax: {names}")
    try:
        found = runpy.run_path(str(path))
        functions = {key: value for key, value in found.items() if inspect.isfunction(value) and key.islower()}
        if "get_config" in functions:
            functions = {"tiny": lambda: make_tiny(check_config(functions["get_config"]()))} | functions
        check_names([function], functions, what=f"{path}")
        config = functions[function]()
    except (SyntaxError, NameError, AttributeError, KeyError, TypeError, ImportError) as error:
        _check_keyword(str(error), what=str(path))
        raise InputError(f"{path} does not work as a config: {type(error).__name__}: {error}") from error
    if not isinstance(config, Config):
        raise InputError(f"{path}: {function}() must return a vjax.Config, got {type(config).__name__}")
    return config


def _check_keyword(error: str, *, what: str) -> None:
    """Raises an InputError with the nearest key if an error message is about an unknown key of a section."""
    found = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", error)
    sections = {cls.__name__: cls for cls in (Config, *typed.field_types(Config).values()) if inspect.isclass(cls)}
    if found and found[1] in sections:
        check_names([found[2]], typed.field_types(sections[found[1]]), what=f"{what}: {found[1]}")


def _apply(plain: dict[str, Any], overrides: Sequence[str], annotation: Any, *, prefix: str) -> dict[str, Any]:
    """Returns nested dicts with overrides applied; names come first, because they decide which other keys exist."""
    plain, root = copy.deepcopy(plain), prefix.strip("-.")
    for override in overrides:
        if not override.startswith(prefix) or "=" not in override:
            raise InputError(f"{override!r} is not understood; a key of the {root} is set by {prefix}KEY=VALUE")
    texts = [override.removeprefix(prefix).partition("=")[::2] for override in overrides]
    texts.sort(key=lambda item: (not item[0].endswith(".name") and item[0] != "name", item[0].count(".")))
    for name, text in texts:
        _set(plain, name.split("."), text, annotation, where=root)
    return plain


def _set(plain: dict[str, Any], path: list[str], text: str, annotation: Any, *, where: str) -> None:
    """Sets the key at a path of nested dicts, in place."""
    table = typed.table_of(annotation)
    key, *rest = path
    if table is not None and key == "name" and not rest:
        _rename(plain, text, table, where=where)
        return
    annotations = _annotations(plain, annotation, table)
    check_names([key], annotations, what=where if table is None else f"{where} {plain['name']!r}")
    place = f"{where}.{key}"
    if not rest:
        if _is_section(annotations[key]):
            inner = f"{place}.name" if typed.marks(annotations[key]) else f"{place}.KEY"
            raise InputError(f"{place} is a section; set its keys one by one, as {inner}=...; got {text!r}")
        plain[key] = typed.parse(text, annotations[key], what=place)
    elif not _is_section(annotations[key]):
        raise InputError(f"{place} is a value, not a section; got {'.'.join(path)!r}")
    else:
        _set(plain[key], rest, text, annotations[key], where=place)


def _annotations(plain: Mapping[str, Any], annotation: Any, table: Table[Any] | None) -> dict[str, Any]:
    """Returns the annotations of the options of a choice, or of the keys of a section."""
    if table is not None:
        return {key: option.annotation for key, option in table.options(plain["name"]).items()}
    return typed.field_types(typed.unmarked(annotation))


def _is_section(annotation: Any) -> bool:
    return dataclasses.is_dataclass(typed.unmarked(annotation))


def _rename(plain: dict[str, Any], name: str, table: Table[Any], *, where: str) -> None:
    """Changes the name of a choice, in place; keeps the options that the new name has with the same default."""
    check_names([name], table, what=where)
    new, kept = table.options(name), table.shared_options(plain["name"], name)
    for key in plain.keys() - kept - {"name"}:
        del plain[key]
    plain["name"] = name
    for key, option in new.items():
        if key not in plain and option.default is not inspect.Parameter.empty:
            plain[key] = typed.as_plain(option.default)
