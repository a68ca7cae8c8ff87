"""Modules are small enough to read and say in their first line what they are for."""

import ast

LONGEST_FUNCTION, LONGEST_MODULE = 50, 400
# Nothing but declarations, one after the other; may shrink, not grow much.
LISTS = {"firmware_protocol/messages.py": 730}


def lines(node):
    """Lines from the first to the last, without docstrings: documentation may be as long as it needs."""
    said = [
        part
        for part in ast.walk(node)
        if isinstance(part, ast.Expr)
        and isinstance(part.value, ast.Constant)
        and isinstance(part.value.value, str)
    ]
    first = 1 if isinstance(node, ast.Module) else node.lineno
    return node.body[-1].end_lineno - first + 1 - sum(part.end_lineno - part.lineno + 1 for part in said)


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_no_function_is_longer_than_fifty_lines(modules):
    lengths = {
        f"{name}: {function.name}": lines(function)
        for name, source in modules.items()
        for function in functions(ast.parse(source))
    }
    long = {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION}
    assert not long, f"split these functions, {LONGEST_FUNCTION} lines is the most: {long}"


def test_no_module_is_longer_than_four_hundred_lines(modules):
    lengths = {name: lines(ast.parse(source)) for name, source in modules.items() if source.strip()}
    long = {name: length for name, length in lengths.items() if length > LISTS.get(name, LONGEST_MODULE)}
    assert not long, f"these modules hold more than one thing, {LONGEST_MODULE} lines is the most: {long}"


def test_every_module_says_in_one_line_what_it_is_for(modules):
    said = {name: ast.get_docstring(ast.parse(source)) or "" for name, source in modules.items()}
    unsaid = [name for name, text in said.items() if not text.partition("\n")[0].endswith(".")]
    assert not unsaid, f"the docstring's first line is not one whole sentence: {unsaid}"
