"""The ways to fail."""

from acme.runs import RunError, start


class SilentError(Exception):
    """An error without a text of its own."""

    def __str__(self):
        return ""


class SpokenError(Exception):
    """An error with an attribute that others take for its text."""

    message = "told by an attribute"


def caught(way):
    """Return the exception that this way of failing ends with."""
    try:
        way()
    except BaseException as error:  # noqa: BLE001 - an exit is one of the ways
        return error
    raise AssertionError("nothing was raised")


def plain():
    raise ValueError("plain")


def without_message():
    raise KeyError


def with_own_type():
    raise RunError.StepError("of a class within a class")


def in_package_file():
    start("nightly")


def from_cause():
    try:
        plain()
    except ValueError as error:
        raise RuntimeError("outer") from error


def in_context():
    try:
        from_cause()
    except RuntimeError:
        raise LookupError("outermost")  # noqa: B904 - the context is the point


def from_none():
    try:
        plain()
    except ValueError:
        raise RuntimeError("outer") from None


def as_group():
    raise ExceptionGroup("several", [caught(plain), caught(from_cause), RunError("never raised")])


def as_nested_group():
    raise ExceptionGroup("top", [ExceptionGroup("low", [caught(plain)]), caught(in_context)])


def as_base_group():
    raise BaseExceptionGroup("with an exit", [caught(plain), SystemExit(3)])


def as_group_from_cause():
    try:
        plain()
    except ValueError as error:
        raise ExceptionGroup("several", [KeyError("k"), TypeError("t")]) from error


def in_cycle():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def in_long_chain():
    error = ValueError("0")
    for number in range(1, 100):
        outer = ValueError(str(number))
        outer.__cause__ = error
        error = outer
    raise error


def with_empty_text():
    raise SilentError


def of_several_lines():
    raise ValueError("first line\n\nthird line: with a colon")


def not_compiled():
    raise SyntaxError("invalid syntax", ("acme.cfg", 3, 5, "a b\n"))


def with_errno():
    raise FileNotFoundError(2, "No such file or directory", "data.csv")


def exits():
    raise SystemExit(3)


def in_lambda():
    sorted([1], key=lambda value: value.missing)


def in_generated_code():
    names = {"__name__": "acme.generated"}
    exec(compile("def fail():\n    raise ValueError('generated')\n", "<generated>", "exec"), names)
    names["fail"]()


def with_notes():
    error = ValueError("plain")
    error.add_note("first note")
    error.add_note("second note")
    raise error


def with_text_and_message():
    raise SpokenError("told by __str__")


def by_hand(capture):
    capture(ValueError("never raised"))


WAYS = [
    plain,
    without_message,
    with_own_type,
    in_package_file,
    from_cause,
    in_context,
    from_none,
    as_group,
    as_nested_group,
    as_base_group,
    as_group_from_cause,
    in_cycle,
    in_long_chain,
    with_empty_text,
    of_several_lines,
    not_compiled,
    with_errno,
    exits,
    in_lambda,
    in_generated_code,
    with_notes,
    with_text_and_message,
]
