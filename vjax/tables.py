"""Numbers as text: tables that read well on a terminal and in a README."""

from collections.abc import Sequence


def format_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns an aligned Markdown table; the first column is text, the others are numbers, set to the right.

    >>> print(format_table(["network", "video@1"], [["slow_fusion", 0.975], ["late_pool", None]]))
    | network     | video@1 |
    | ----------- | ------: |
    | slow_fusion |   0.975 |
    | late_pool   |       - |
    """
    cells = [list(columns)] + [[_format(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = []
    for row in cells:
        aligned = [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
        lines.append("| " + " | ".join(aligned) + " |")
    rule = [("-" * width if i == 0 else "-" * (width - 1) + ":") for i, width in enumerate(widths)]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])


def _format(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool() | str():
            return str(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
        case _:
            return str(value)
