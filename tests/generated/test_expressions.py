"""What a client sends takes a regular expression no longer than its length allows."""

import pytest
from expressions import Expression, of_nginx, of_python, slow
from figures import report
from projects import BARE, OPTIONS, parameters

ALL = BARE | dict.fromkeys(OPTIONS, True) | {"frontend": "htmx"}
RECORDED = [  # of release 0.2.0, and others with the same fault
    r"^(?<ascii>[ -~]*?)(\?[ -~]*)?$",
    r"/|(?:\s*;\s*)",
    r"^(\w+\s?)*$",
    r"^redis://(.*)@(.*)/x$",
    r"^a*a*b$",
]
SOUND = [r"^(?<ascii>[ ->@-~]*)(\?[ -~]*)?$", r"^/(livez|readyz) [23]", r"^[a-f0-9]{8}$", r"."]


def expressions(project):
    """Return the expressions of the package, of ``config/`` and of ``nginx/``."""
    for folder in (project.name, "config"):
        for path in sorted((project / folder).rglob("*.py")):
            yield from of_python(path.read_text(), str(path.relative_to(project)))
    for path in sorted(project.glob("nginx/*")):
        yield from of_nginx(path.read_text(), str(path.relative_to(project)))


@pytest.mark.weekly
@pytest.mark.parametrize("project", parameters([ALL]), indirect=True)
def test_every_expression_takes_linear_time(project):
    found = {one.text: one for one in expressions(project)}
    places = {one.place.split("/")[0] for one in found.values()}

    assert {"config", "my_service", "nginx"} == places
    assert {e.place + ": " + e.text: text for e in found.values() if (text := slow(e))} == {}
    report(f"{len(found)} regular expressions take linear time")


@pytest.mark.parametrize("text", RECORDED)
def test_slow_expression_is_found(text):
    assert slow(Expression(text, "search", "here"))


@pytest.mark.parametrize("text", SOUND)
def test_sound_expression_has_no_findings(text):
    assert slow(Expression(text, "search", "here")) is None


def test_expressions_of_nginx_are_found():
    text = r"""
        map $a $b { "~^/x\?{2}" 1; ~*y 2; '~z' 3; default "a ~ b"; } # ~ no
        server_name ~^(www\.)?(.+)$;
        location ~ ^/metrics(/|$) { if ($c !~* q) { rewrite ^/old /new; } }
        log_format a '~tilde';
    """
    found = [one.text for one in of_nginx(text, "here")]

    assert found[:6] == [r"^/x\?{2}", "y", "z", r"^(www\.)?(.+)$", "^/metrics(/|$)", "q)"]


def test_expressions_of_python_are_found():
    text = 'A = re.compile("a+")\nA.sub("", x)\nre.fullmatch("b", x)\nvalidate.Regexp("c")\n'
    text += 'class C:\n    regex = "d"\n'

    found = [(one.text, one.method) for one in of_python(text, "here")]

    assert found == [("a+", "sub"), ("b", "fullmatch"), ("c", "match"), ("d", "fullmatch")]
    with pytest.raises(AssertionError, match="hides its expression"):
        list(of_python("re.search(PATTERN, x)", "here"))
