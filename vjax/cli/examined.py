"""A dataset that a command examines, with the config that says how it is split and cut into clips."""

import argparse
import sys
from collections.abc import Sequence

from vjax.cli.arguments import SET_A_KEY, SOURCE_PREFIX, add_source, choose_source
from vjax.config import Config
from vjax.config_file import PREFIX, load_config, override_config
from vjax.data.doctor import Examined, examine
from vjax.data.files import indexing_progress
from vjax.errors import InputError
from vjax.preprocessing import bind_preprocessing
from vjax.spec import Choice


def add_examined(parser: argparse.ArgumentParser) -> None:
    """Adds SOURCE, --source.KEY=VALUE, --config FILE and --config.KEY=VALUE."""
    add_source(parser)
    parser.set_defaults(overridden=(SOURCE_PREFIX, PREFIX))
    parser.epilog = f"{parser.epilog} {SET_A_KEY}"
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="config file with the clip, augmentation, batch size and split to assume (default: those of the default "
        "config)",
    )


def choose_examined(args: argparse.Namespace, overrides: Sequence[str]) -> tuple[Choice, Config]:
    """Returns the dataset that the arguments name, and the config.

    Raises:
      InputError: an option fits neither of them.
    """
    of_config = [word for word in overrides if word.startswith(PREFIX)]
    config = load_config(args.config, of_config) if args.config else override_config(Config(), of_config)
    config, _ = bind_preprocessing(config)
    of_source = [word for word in overrides if word.startswith(SOURCE_PREFIX)]
    source = choose_source(args.source, of_source, like=config.source)
    useless = [word for word in of_config if word.startswith(f"{PREFIX}source.")]
    if useless and source.name != config.source.name:
        raise InputError(
            f"{useless[0]}: {args.source} is a source {source.name!r}, but the config has {config.source.name!r}; set "
            f"its options with {SOURCE_PREFIX}KEY=VALUE"
        )
    return source, config


def examine_chosen(source: Choice, config: Config) -> Examined:
    """Returns what the doctor finds about a dataset, and shows how far it is."""
    with indexing_progress(sys.stderr) as progress:
        return examine(
            source,
            config.train_view,
            batch_size=config.batch_size,
            rule=config.split_rule,
            advance=progress.advance,
        )
