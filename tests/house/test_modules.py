"""Modules are small enough to read and say in their first line what they are for."""

import ast

LONGEST_FUNCTION, LONGEST_MODULE = 50, 400


def functions(source):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]


def test_no_function_is_longer_than_fifty_lines(modules):
    lengths = {
        f"{name}: {function.name}": function.end_lineno - function.lineno + 1
        for name, source in modules.items()
        for function in functions(source)
    }
    long = {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION}
    assert not long, f"split these functions, {LONGEST_FUNCTION} lines is the most: {long}"


def test_no_module_is_longer_than_four_hundred_lines(modules):
    lengths = {name: len(source.splitlines()) for name, source in modules.items()}
    long = {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE}
    assert not long, f"these modules hold more than one thing, {LONGEST_MODULE} lines is the most: {long}"


def test_every_module_says_in_one_line_what_it_is_for(modules):
    first = {
        name: (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0] for name, text in modules.items()
    }
    unsaid = [name for name, line in first.items() if not line.endswith(".")]
    assert not unsaid, f"the docstring's first line is not one whole sentence: {unsaid}"
