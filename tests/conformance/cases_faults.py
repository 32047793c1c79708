"""Odd exceptions, raised at odd moments."""

from __future__ import annotations

import asyncio
import copy
import pickle
import sys

from .harness import body, http_scope, odd, start


async def _fails_with(stage, error, *, before=(), after=None):
    async def app(_scope, _receive, send):
        for message in before:
            await send(message)
        raise error

    await stage.play(app, http_scope(), expected=error)
    if after is not None:
        after(error)


@odd(reports=1)
async def raise_before_the_start(stage):
    """An exception before any answer."""
    await _fails_with(stage, ValueError("before", 7))


@odd(reports=1)
async def raise_after_the_start(stage):
    """An exception between start and body."""
    await _fails_with(stage, ValueError("after"), before=[start()])


@odd(reports=1)
async def raise_in_the_middle_of_a_stream(stage):
    """An exception between two chunks."""
    await _fails_with(stage, ValueError("middle"), before=[start(), body(b"half", more_body=True)])


@odd()
async def raise_what_ends_the_process(stage):
    """Exits and interrupts pass, and are no errors."""
    for error in (
        KeyboardInterrupt(),
        SystemExit(3),
        asyncio.CancelledError("by hand"),
        GeneratorExit("odd"),
    ):
        await _fails_with(stage, error)


@odd()
async def raise_a_base_exception_of_its_own(stage):
    """A `BaseException` that is no `Exception` passes."""

    class Abort(BaseException):
        pass

    await _fails_with(stage, Abort("odd"))


@odd(reports=2)
async def raise_the_end_of_an_iteration(stage):
    """Python turns these into a `RuntimeError`, with or without a middleware."""
    await _fails_with(stage, StopIteration(7))
    await _fails_with(stage, StopAsyncIteration())


@odd()
async def raise_a_group_of_exits(stage):
    """A group without an error in it is none."""
    await _fails_with(stage, BaseExceptionGroup("exits", [KeyboardInterrupt(), asyncio.CancelledError()]))


@odd(reports=1)
async def raise_a_mixed_group(stage):
    """A group with an error among exits is one."""
    inner = ExceptionGroup("inner", [ValueError("one"), OSError(2, "two")])
    await _fails_with(stage, BaseExceptionGroup("mixed", [KeyboardInterrupt(), inner]))


@odd(reports=1)
async def raise_a_crowded_group(stage):
    """Ten thousand members are passed on as one object."""
    await _fails_with(stage, ExceptionGroup("crowd", [ValueError(number) for number in range(10_000)]))


@odd(reports=1)
async def raise_a_group_with_a_strange_derive(stage):
    """A group's own methods are not called."""

    class Group(ExceptionGroup):
        def derive(self, _members):
            raise AssertionError("derived")

        def split(self, _condition):
            raise AssertionError("split")

        subgroup = split

    await _fails_with(stage, Group("strange", [ValueError("member")]))


@odd(reports=1)
async def raise_what_cannot_be_written_to(stage):
    """An exception whose class refuses attributes."""

    class Frozen(Exception):  # noqa: N818 - named for what it is
        def __setattr__(self, name, value):
            raise AttributeError("frozen")

        def __delattr__(self, name):
            raise AttributeError("frozen")

    await _fails_with(stage, Frozen("odd"))


@odd(reports=1)
async def raise_what_cannot_be_printed(stage):
    """An exception whose texts fail."""

    class Mute(Exception):  # noqa: N818 - named for what it is
        def __str__(self):
            raise RuntimeError("mute")

        __repr__ = __str__

        def __format__(self, _spec):
            raise RuntimeError("mute")

    await _fails_with(stage, Mute())


@odd(reports=1)
async def raise_what_exits_when_printed(stage):
    """An exception whose text raises an exit."""

    class Exiting(Exception):  # noqa: N818 - named for what it is
        def __str__(self):
            raise SystemExit(7)

    await _fails_with(stage, Exiting())


@odd(reports=1)
async def raise_what_prints_as_something_else(stage):
    """An exception whose text is no text."""

    class Numeric(Exception):  # noqa: N818 - named for what it is
        def __str__(self):
            return 7  # noqa: PLE0307 - that is the case

    await _fails_with(stage, Numeric())


@odd(reports=1)
async def raise_what_hides_its_attributes(stage):
    """An exception that fails on any look at it."""

    class Hidden(Exception):  # noqa: N818 - named for what it is
        def __getattribute__(self, name):
            raise RuntimeError("looked at")

    await _fails_with(stage, Hidden("odd"))


@odd(reports=1)
async def raise_what_answers_everything(stage):
    """An exception that has every attribute."""

    class Mock(Exception):  # noqa: N818 - named for what it is
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return self

    await _fails_with(stage, Mock("odd"))


@odd(reports=1)
async def raise_what_fails_on_missing_attributes(stage):
    """An exception whose `__getattr__` fails."""

    class Failing(Exception):  # noqa: N818 - named for what it is
        def __getattr__(self, name):
            raise RuntimeError(name)

    await _fails_with(stage, Failing("odd"))


@odd(reports=1)
async def raise_what_has_a_dictionary_of_its_own(stage):
    """An exception whose `__dict__` is something else."""

    class Odd(Exception):  # noqa: N818 - named for what it is
        @property
        def __dict__(self):
            raise RuntimeError("no dictionary")

    await _fails_with(stage, Odd("odd"))


@odd(reports=1)
async def raise_what_lies_about_its_class(stage):
    """An exception that calls itself something else."""

    class Liar(Exception):  # noqa: N818 - named for what it is
        @property
        def __class__(self):
            raise RuntimeError("asked")

    await _fails_with(stage, Liar("odd"))


@odd(reports=1)
async def raise_what_cannot_be_compared(stage):
    """An exception without equality, hash and truth."""

    class Incomparable(Exception):  # noqa: N818 - named for what it is
        __hash__ = None

        def __eq__(self, _other):
            raise RuntimeError("compared")

        def __bool__(self):
            raise RuntimeError("asked")

    await _fails_with(stage, Incomparable("odd"))


@odd(reports=1)
async def raise_what_cannot_be_made_again(stage):
    """An exception that neither copies nor pickles."""

    class Single(Exception):  # noqa: N818 - named for what it is
        def __init__(self, one, *, two):
            super().__init__(one)
            self.two = two

        def __reduce__(self):
            raise RuntimeError("reduced")

    await _fails_with(stage, Single(1, two=2))


@odd(reports=1)
async def raise_with_a_metaclass(stage):
    """An exception of a class with a mind of its own."""

    class Meta(type):
        def __instancecheck__(cls, _instance):
            raise RuntimeError("checked")

    class Odd(Exception, metaclass=Meta):  # noqa: N818 - named for what it is
        __module__ = 7

    error = Odd("odd")

    async def app(_scope, _receive, _send):
        raise error

    try:
        await stage.wrap(app)(http_scope(), None, None)
    except Exception as caught:  # noqa: BLE001 - which one it is, is the question
        stage.note("same", caught is error)


@odd(reports=1)
async def raise_what_pickles_the_same(stage):
    """An exception's pickle and copy hold nothing more than before."""
    error = ValueError("pickled", 7)
    before = pickle.dumps(error)
    await _fails_with(stage, error)
    stage.note("same", pickle.dumps(error) == before, vars(copy.copy(error)))


@odd(reports=1)
async def raise_with_notes(stage):
    """Notes, arguments and attributes stay."""
    error = OSError(28, "no room", "/data")
    error.add_note("first")
    error.add_note("second")
    error.detail = {"step": 7}
    await _fails_with(stage, error)
    stage.note("notes", error.__notes__, error.detail, error.filename)


@odd(reports=1)
async def raise_with_a_cause(stage):
    """Cause and context stay the very objects."""
    cause, context, error = OSError("cause"), KeyError("context"), ValueError("odd")

    async def app(_scope, _receive, _send):
        try:
            raise context
        except KeyError:
            raise error from cause

    await stage.play(app, http_scope(), expected=error)
    stage.note("same", error.__cause__ is cause, error.__context__ is context, context.__context__)


@odd(reports=1)
async def raise_from_nothing(stage):
    """A suppressed context stays suppressed."""
    error = ValueError("odd")

    async def app(_scope, _receive, _send):
        try:
            raise KeyError("hidden")
        except KeyError:
            raise error from None

    await stage.play(app, http_scope(), expected=error)


@odd(reports=1)
async def raise_with_a_circle_of_causes(stage):
    """Causes may go round in a circle."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    await _fails_with(stage, first)
    stage.note("circle", first.__cause__ is second, second.__cause__ is first)


@odd(reports=1)
async def raise_with_thousands_of_causes(stage):
    """A chain longer than the stack is deep."""
    error = ValueError(0)
    for number in range(1, 5_000):
        outer = ValueError(number)
        outer.__cause__ = error
        error = outer
    await _fails_with(stage, error)


@odd(reports=1)
async def raise_out_of_a_deep_recursion(stage):
    """A `RecursionError` of the application passes."""

    def down():
        return down()

    async def app(_scope, _receive, _send):
        down()

    try:
        await stage.wrap(app)(http_scope(), None, None)
    except RecursionError as error:
        stage.note("raised", type(error).__name__, error.__context__)


@odd()
async def raise_without_a_traceback(stage):
    """An application may strip the traceback of what it handles."""

    async def app(_scope, _receive, _send):
        error = ValueError("stripped")
        try:
            raise error
        except ValueError:
            error.__traceback__ = None
        stage.note("traceback", error.__traceback__)

    await stage.play(app, http_scope())


@odd(reports=1)
async def raise_the_same_object_in_each_request(stage):
    """A shared exception is the same object each time, and reported once."""
    error = ValueError("shared")

    async def app(_scope, _receive, _send):
        raise error

    for _ in range(3):
        await stage.play(app, http_scope(), expected=error)


@odd(reports=1)
async def raise_the_same_object_twice(stage):
    """An application may catch its own exception and raise it again later."""
    error = ValueError("twice")

    async def app(_scope, _receive, send):
        try:
            raise error
        except ValueError:
            await send(start(202))
        raise error

    await stage.play(app, http_scope(), expected=error)


@odd()
async def raise_and_handle(stage):
    """What the application handled is nobody's business, whatever it answers."""

    async def app(scope, _receive, send):
        try:
            raise ValueError("handled")
        except ValueError:
            await send(start(scope["status"]))
        await send(body())

    for status in (200, 404, 503):
        await stage.play(app, http_scope(status=status))


@odd(reports=1)
async def raise_at_the_call(stage):
    """An application that is no coroutine function may fail when it is called."""
    error = ValueError("at the call")

    def app(_scope, _receive, _send):
        raise error

    await stage.play(app, http_scope(), expected=error)


@odd(reports=1)
async def return_nothing_to_await(stage):
    """An application that returns no awaitable fails as it always would."""
    await stage.play(lambda *_: None, http_scope())


@odd(reports=1)
async def return_an_asynchronous_generator(stage):
    """An application that yields instead of sending fails as it always would."""

    async def app(_scope, _receive, _send):
        yield start()

    await stage.play(app, http_scope())


@odd(reports=1)
async def take_other_arguments(stage):
    """An application of ASGI 2 fails as it always would."""
    await stage.play(lambda _scope: None, http_scope())


@odd()
async def call_while_an_exception_is_handled(stage):
    """What is being handled around the call stays so, inside and after."""
    try:
        raise KeyError("the server's own")
    except KeyError as error:
        outer = error

        async def app(_scope, _receive, send):
            stage.note("inside", sys.exception() is outer)
            await send(start(500))
            await send(body())

        await stage.play(app, http_scope())
        stage.note("after", sys.exception() is outer, outer.__context__)


@odd(reports=1)
async def fail_while_an_exception_is_handled(stage):
    """The context of the application's exception is what was being handled around the call."""
    error = ValueError("inner")
    try:
        raise KeyError("the server's own")
    except KeyError as outer:

        async def app(_scope, _receive, _send):
            raise error

        await stage.play(app, http_scope(), expected=error)
        stage.note("context", error.__context__ is outer)


@odd(reports=1)
async def fail_while_cleaning_up(stage):
    """An exception in a `finally` replaces the first one."""
    error = ValueError("cleaning up")

    async def app(_scope, _receive, _send):
        try:
            raise KeyError("first")
        finally:
            raise error

    await stage.play(app, http_scope(), expected=error)
    stage.note("context", type(error.__context__).__name__)


@odd()
async def receive_fails_and_the_app_answers(stage):
    """An application may handle what `receive` raises."""

    async def receive():
        raise OSError("the client has left")

    sent = []

    async def app(_scope, receive, send):
        try:
            await receive()
        except OSError as error:
            await send(start(499))
            stage.note_error(error)

    async def send(message):
        sent.append(message["status"])

    await stage.wrap(app)(http_scope(), receive, send)
    stage.note("sent", *sent)
