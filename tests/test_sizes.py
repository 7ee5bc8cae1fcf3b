"""The size of the house: signatures and functions that one can take in at a glance."""

import ast
from pathlib import Path

import vjax

PACKAGE = Path(vjax.__file__).parent
FUNCTIONS = {
    f"{path.relative_to(PACKAGE)} {node.name}": node
    for path in sorted(PACKAGE.rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.FunctionDef)
}


def num_parameters(node):
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in arguments)


def num_lines(node):
    """Lines of a function's body, docstring left out."""
    body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
    return node.end_lineno - body[0].lineno + 1


def test_no_function_is_longer_than_60_lines():
    assert {name: num_lines(node) for name, node in FUNCTIONS.items() if num_lines(node) > 60} == {}


def test_no_signature_has_more_than_8_parameters():
    assert {name: num_parameters(node) for name, node in FUNCTIONS.items() if num_parameters(node) > 8} == {}
