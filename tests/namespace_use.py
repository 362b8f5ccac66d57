"""What a source file asks of an array library, read from its syntax tree without running it.

A namespace is known by how it is written: the name `xp`, a call of `namespace(...)`, an attribute `.xp`; and in
backend.py, where CuPy itself is imported, the name `cupy`. What is asked of it is every chain of attributes that begins
there (`xp.exp`, `cupy.cuda.runtime.getDeviceProperties`), with the arguments where it is called.
"""

import ast
import inspect
from dataclasses import dataclass


@dataclass(frozen=True)
class Use:
    """One place: the line, the attributes ("cuda", "Device"), and if it is called, with which arguments."""

    line: int
    path: tuple
    called: bool = False
    positional: int | None = None  # None for f(*args): not known here
    keywords: tuple = ()


def _is_namespace(node, roots):
    return (
        isinstance(node, ast.Name)
        and node.id in roots
        or isinstance(node, ast.Attribute)
        and node.attr == "xp"
        or isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "namespace"
    )


def _path(node, roots):
    """("cuda", "Device") for the node of `cupy.cuda.Device`, or None."""
    names = []
    while isinstance(node, ast.Attribute) and not _is_namespace(node, roots):
        names.insert(0, node.attr)
        node = node.value
    return tuple(names) if names and _is_namespace(node, roots) else None


def uses(source, roots=("xp",)):
    """Every Use of a namespace in `source`; the longest chain where one holds another."""
    tree = ast.parse(source)
    inner = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    }
    calls = {
        id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)
    }
    for node in ast.walk(tree):
        path = _path(node, roots)
        if path is None or id(node) in inner:
            continue
        call = calls.get(id(node))
        if call is None:
            yield Use(node.lineno, path)
        else:
            starred = any(isinstance(argument, ast.Starred) for argument in call.args)
            yield Use(
                node.lineno,
                path,
                True,
                None if starred else len(call.args),
                tuple(keyword.arg for keyword in call.keywords if keyword.arg),
            )


def hidden(source):
    """The lines where a namespace goes where `uses` cannot follow: into a variable of another name, or a getattr."""
    tree = ast.parse(source)
    fine = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = (
                    zip(target.elts, node.value.elts)
                    if isinstance(node.value, ast.Tuple)
                    and isinstance(target, ast.Tuple)
                    else [(target, node.value)]
                )
                fine |= {
                    id(value)
                    for name, value in pairs
                    if isinstance(name, ast.Name) and name.id == "xp"
                }
        if isinstance(
            node, ast.Return
        ):  # from a function whose result is called xp where it is used
            fine.add(id(node.value))
        if isinstance(node, ast.Call) and not (
            isinstance(node.func, ast.Name) and node.func.id == "getattr"
        ):
            fine |= {
                id(argument) for argument in node.args if isinstance(argument, ast.Name)
            }  # a parameter called xp
    for node in ast.walk(tree):
        read = not isinstance(getattr(node, "ctx", None), ast.Store)
        if read and _is_namespace(node, ("xp",)) and id(node) not in fine:
            yield node.lineno


def problems(source, library, roots=("xp",)):
    """What `source` asks of `library` that it does not have: sentences with the line. Empty if all is well."""
    for use in uses(source, roots):
        thing, name = library, library.__name__
        for attribute in use.path:
            name += f".{attribute}"
            if not hasattr(thing, attribute):
                yield f"line {use.line}: there is no {name}"
                break
            thing = getattr(thing, attribute)
        else:
            if use.called:
                yield from (
                    f"line {use.line}: {name} {reason}"
                    for reason in _wrong_call(thing, use)
                )


def _wrong_call(function, use):
    try:
        signature = inspect.signature(function)
    except (
        ValueError,
        TypeError,
    ):  # compiled, or a ufunc: it does not say what it takes
        return
    try:
        if use.positional is None:
            signature.bind_partial(**dict.fromkeys(use.keywords))
        else:
            signature.bind(*[None] * use.positional, **dict.fromkeys(use.keywords))
    except TypeError as error:
        yield str(error)
