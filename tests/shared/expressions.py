"""Find the regular expressions of a project, and texts for which one takes too long."""

import ast
import functools
import re
import time
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st

# Characters; in small steps at first, because time can double with each of them
SIZES = [*range(12, 64, 4), *(2**n for n in range(6, 14))]
FLOOR = 0.005  # seconds: less is not worth a comparison
SHARE = 4  # a text is compared with one of a quarter of its length
RATIO = 8  # of their times: 4 is linear, and 16 is quadratic
METHODS = {"findall", "finditer", "fullmatch", "match", "search", "split", "sub", "subn"}


@dataclass(frozen=True)
class Expression:
    """An expression, how it is used, and where it is from."""

    text: str
    method: str
    place: str


@functools.cache
def compiled(text):
    """Return the expression in the syntax of Python: PCRE writes named groups without P."""
    return re.compile(re.sub(r"\(\?<(?=[a-zA-Z])", "(?P<", text))


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def of_python(source, place):
    """Return the expressions of a module: calls of re, ``Regexp``, and of URL converters."""
    tree = ast.parse(source)
    for call in calls(tree):
        function = ast.unparse(call.func)
        if function.startswith("re.") and function[3:] in METHODS:
            yield Expression(text_of(call, place), function[3:], place)
        elif function == "re.compile":
            for method in uses(tree, call) or METHODS:
                yield Expression(text_of(call, place), method, place)
        elif function.split(".")[-1] == "Regexp":
            yield Expression(text_of(call, place), "match", place)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "regex":
            yield Expression(ast.literal_eval(node.value), "fullmatch", place)


def text_of(call, place):
    """Return the expression that a call is given; it has to be written there."""
    try:
        return ast.literal_eval(call.args[0])
    except (IndexError, ValueError):
        raise AssertionError(f"{place}: {ast.unparse(call)} hides its expression") from None


def uses(tree, compiled):
    """Return the methods that are called on the name of a compiled expression."""
    names = {
        ast.unparse(node.targets[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and node.value is compiled
    }
    functions = [call.func for call in calls(tree) if isinstance(call.func, ast.Attribute)]
    return {f.attr for f in functions if ast.unparse(f.value) in names} & METHODS


TOKEN = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|#.*|[{};]|[^\s{};]+""")
OPERATORS = {"~", "~*", "!~", "!~*", "rewrite"}


def of_nginx(text, place):
    """Return the expressions of a configuration: of map, location, server_name, if and rewrite."""
    previous = ""
    for token in (found for found in TOKEN.findall(text) if not found.startswith("#")):
        bare = token[1:-1].replace("\\" + token[0], token[0]) if token[0] in "\"'" else token
        if previous in OPERATORS:
            yield Expression(bare, "search", place)
        elif re.match(r"~\*?.", bare) and bare not in OPERATORS:
            yield Expression(bare.lstrip("~").removeprefix("*"), "search", place)
        previous = bare.lstrip("(")


def examples(pattern):
    """Return a short and a longer text that match."""
    quick = settings(
        max_examples=40,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    strategy = st.from_regex(pattern)
    found = [find(strategy, lambda text: True, settings=quick)]
    return [*found, *(text for text in [longer(strategy, len(found[0]), quick)] if text)]


def longer(strategy, length, quick):
    try:
        return find(strategy, lambda text: len(text) > length + 4, settings=quick)
    except Exception:  # every match has this length
        return None


def hostile(expression):
    """Return begin, filler and end of texts: what matches at first, then repeats, then breaks."""
    matching = examples(compiled(expression.text))
    begins = {text[:size] for text in matching for size in range(min(len(text), 24) + 1)}
    letters = {*expression.text, *"".join(matching), *" \taA0_-?/.:@,;&=%\xe9"}
    ends = ("\xff", "\0", "\n\0", "")
    return [(begin, filler, end) for begin in begins for filler in letters for end in ends]


def seconds(expression, text, runs=1):
    """Return the shortest of several runs."""
    method = getattr(compiled(expression.text), expression.method)
    arguments = ("", text) if expression.method in {"sub", "subn"} else (text,)
    least = float("inf")
    for _ in range(runs):
        begun = time.process_time()
        result = method(*arguments)
        if expression.method == "finditer":
            list(result)
        least = min(least, time.process_time() - begun)
    return least


def grows(expression, begin, filler, end):
    """Return whether the time grows faster than the length: each time, not once by chance."""
    for size in SIZES:
        text, part = (begin + filler * length + end for length in (size, size // SHARE))
        if all(takes_too_long(expression, text, part) for _ in range(3)):
            return True
    return False


def takes_too_long(expression, text, part):
    """Return whether a text takes more than its share of a part of it."""
    if seconds(expression, text) < FLOOR:
        return False
    return seconds(expression, text, 3) > max(FLOOR, RATIO * seconds(expression, part, 3))


def slow(expression):
    """Return a text for which the time grows faster than its length, or None."""
    for begin, filler, end in hostile(expression):
        if grows(expression, begin, filler, end):
            return f"{begin!r} + n * {filler!r} + {end!r}"
    return None
