"""Print which small changes of a module no test notices: ``mutate.py PROJECT MODULE [LINE]``.

The module's own tests run first, then the others, until one fails.
"""

import ast
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PAIRS = {
    ast.Eq: ast.NotEq,
    ast.Lt: ast.LtE,
    ast.Gt: ast.GtE,
    ast.In: ast.NotIn,
    ast.Is: ast.IsNot,
    ast.And: ast.Or,
    ast.Add: ast.Sub,
    ast.Mult: ast.Div,
}
OPPOSITES = PAIRS | {second: first for first, second in PAIRS.items()}


def copy_of(node: ast.AST, **fields: object) -> str:
    """Return the source of a node with other fields."""
    return ast.unparse(type(node)(**{**dict(ast.iter_fields(node)), **fields}))


def constants(node: ast.Constant) -> Iterator[str]:
    """Yield other values of a constant."""
    match node.value:
        case bool():
            yield str(not node.value)
        case int() | float():
            yield from (f"{node.value + 1}", f"{node.value * 1000}", "0")
        case str():
            yield repr(f"XX{node.value}")


def without_one(node: ast.AST, *fields: str) -> Iterator[str]:
    """Yield the source of a node without each of its items, such as the arguments of a call."""
    lists = {field: getattr(node, field) for field in fields}
    for index in range(len(lists[fields[0]])):
        yield copy_of(node, **{f: [*lists[f][:index], *lists[f][index + 1 :]] for f in lists})


def expressions(node: ast.AST) -> Iterator[str]:
    """Yield what an expression can become."""
    match node:
        case ast.Constant():
            yield from constants(node)
        case ast.Compare(ops=[operator]):
            yield copy_of(node, ops=[OPPOSITES[type(operator)]()])
        case ast.BoolOp(values=values):
            yield from (copy_of(node, op=OPPOSITES[type(node.op)]()), *map(ast.unparse, values))
        case ast.BinOp() if type(node.op) in OPPOSITES:
            yield copy_of(node, op=OPPOSITES[type(node.op)]())
        case ast.UnaryOp(op=ast.Not()):
            yield ast.unparse(node.operand)
        case ast.IfExp(body=body, orelse=orelse):
            yield from map(ast.unparse, (body, orelse))
        case ast.Call():
            yield from without_one(node, "keywords")
        case ast.Dict():
            yield from without_one(node, "keys", "values")
        case ast.List() | ast.Set() | ast.Tuple():
            yield from without_one(node, "elts")
        case ast.JoinedStr():
            yield "'XX'"


def statements(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Yield the part of a statement that changes, and what it becomes."""
    match node:
        case ast.Expr() | ast.Assign() | ast.AugAssign() | ast.Raise() | ast.Delete():
            yield node, "pass"
        case ast.Return(value=ast.expr()):
            yield node, "return None"
        case ast.If() | ast.While():
            yield node.test, f"(not ({ast.unparse(node.test)}))"
        case ast.FunctionDef():
            yield from ((decorator, "(lambda f: f)") for decorator in node.decorator_list)


def pieces(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts that run: no documentation, no types, and nothing within an f-string."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    yield node
    if not isinstance(node, ast.JoinedStr | ast.MatchValue):
        for name, child in ast.iter_fields(node):
            for part in child if isinstance(child, list) else [child]:
                if isinstance(part, ast.AST) and name not in {"annotation", "returns"}:
                    yield from pieces(part)


def mutants(source: str) -> Iterator[tuple[int, str, bytes]]:
    """Yield each changed source, with the line and the description of the change."""
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for piece in pieces(ast.parse(source)):
        changed = ((piece, f"({text})") for text in expressions(piece))
        for node, text in [*statements(piece), *changed]:
            begin = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            data = source.encode()
            what = f"{data[begin:end].decode()} -> {text}"
            yield node.lineno, what, data[:begin] + text.encode() + data[end:]


def passes(project: Path, module: Path, seconds: float) -> bool:
    """Return whether all tests pass, those of the module first."""
    first = sorted(project.glob(f"tests/**/test_{module.stem}*.py"))
    limit = ["timeout", "--kill-after=1", str(seconds)]  # for the servers of the tests, too
    pytest = ["uv", "run", "--frozen", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*limit, *pytest, *map(str, first), "tests"],
        cwd=project,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
    )
    return done.returncode == 0


def main(project: Path, name: str, line: str = "") -> None:
    """Try all mutants of a module."""
    [module] = [file for file in project.rglob(name) if ".venv" not in file.parts]
    source, survived, count, begin = module.read_text(), 0, 0, time.monotonic()
    assert passes(project, module, 600), "the tests have to pass before a change"
    seconds = 30 + 3 * (time.monotonic() - begin)
    try:
        for number, what, changed in mutants(source):
            if line in ("", str(number)):
                module.write_bytes(changed)
                count += 1
                if passes(project, module, seconds):
                    survived += 1
                    print(f"{name}:{number}: {' '.join(what.split())}", flush=True)
    finally:
        module.write_text(source)
    print(f"{name}: {count - survived} of {count} noticed")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *sys.argv[2:])
