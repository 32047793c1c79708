"""Cancellation, context variables, and what drives a coroutine."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import sys
import types
from contextlib import aclosing, suppress

import anyio

from .harness import body, http_scope, odd, start

_var = contextvars.ContextVar("conformance_var")


async def _cancelled_while(stage, app, cancel):
    task = asyncio.create_task(stage.wrap(app)(http_scope(), None, None))
    await asyncio.sleep(0.002)
    cancel(task)
    try:
        stage.note("result", await task)
    except BaseException as error:  # noqa: BLE001 - which one it is, is the question
        stage.note("ended", type(error).__name__, error.args)
    stage.note("cancelled", task.cancelled(), task.cancelling())


@odd()
async def cancel_from_outside(stage):
    """A cancellation arrives once, at the await, with its message."""

    async def app(_scope, _receive, _send):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            stage.note("arrived", error.args)
            raise
        finally:
            stage.note("cleaned up")

    await _cancelled_while(stage, app, lambda task: task.cancel("enough"))


@odd()
async def cancel_before_the_first_step(stage):
    """An application whose task is cancelled at once is never entered."""

    async def app(_scope, _receive, _send):
        stage.note("entered")

    task = asyncio.create_task(stage.wrap(app)(http_scope(), None, None))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    stage.note("cancelled", task.cancelled())


@odd()
async def cancel_that_is_swallowed(stage):
    """An application may end well although it was cancelled."""

    async def app(_scope, _receive, _send):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "all the same"

    await _cancelled_while(stage, app, lambda task: task.cancel())


@odd()
async def cancel_twice(stage):
    """A second cancellation arrives during the clean-up of the first."""

    async def app(_scope, _receive, _send):
        try:
            await asyncio.Event().wait()
        finally:
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                stage.note("again")
                raise

    async def cancel_later(task):
        await asyncio.sleep(0.002)
        task.cancel("second")

    helpers = []

    def cancel(task):
        task.cancel("first")
        helpers.append(asyncio.create_task(cancel_later(task)))

    await _cancelled_while(stage, app, cancel)


@odd(reports=1)
async def cancel_that_becomes_an_error(stage):
    """An application may fail while it is cancelled."""

    async def app(_scope, _receive, _send):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("while cleaning up") from None

    await _cancelled_while(stage, app, lambda task: task.cancel())


@odd()
async def cancel_by_a_timeout_around(stage):
    """A timeout around the call ends it, and is the caller's own."""

    async def app(_scope, _receive, _send):
        await asyncio.Event().wait()

    try:
        async with asyncio.timeout(0.005):
            await stage.wrap(app)(http_scope(), None, None)
    except TimeoutError as error:
        stage.note("timed out", type(error.__cause__).__name__)


@odd(reports=1)
async def cancel_by_a_timeout_inside(stage):
    """A timeout inside becomes the application's error."""

    async def app(_scope, _receive, _send):
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()

    await stage.play(app, http_scope())


@odd(reports=1)
async def cancel_by_a_task_group(stage):
    """A failing sibling cancels the request; its error is the group's."""

    async def app(_scope, _receive, _send):
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(5))
            group.create_task(_fail())

    await stage.play(app, http_scope())


async def _fail():
    raise LookupError("of a sibling")


@odd()
async def cancel_by_an_anyio_scope(stage):
    """AnyIO's cancellation, which comes again at each await, ends the call."""

    async def app(_scope, _receive, _send):
        try:
            await anyio.sleep(5)
        finally:
            stage.note("cleaned up")

    with anyio.move_on_after(0.005) as scope:
        await stage.wrap(app)(http_scope(), None, None)
    stage.note("cancelled", scope.cancelled_caught)


@odd(reports=1)
async def run_in_an_anyio_task_group(stage):
    """As a task of AnyIO's group beside another one."""

    async def app(_scope, _receive, _send):
        await anyio.sleep(0.001)
        raise LookupError("in a group")

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 5)
            group.start_soon(stage.wrap(app), http_scope(), None, None)
    except* LookupError as error:
        stage.note("raised", *[str(member) for member in error.exceptions])


@odd()
async def shielded_from_cancellation(stage):
    """What an application shields goes on."""
    done = asyncio.Event()

    async def work():
        await asyncio.sleep(0.005)
        done.set()

    async def app(_scope, _receive, _send):
        await asyncio.shield(work())

    await _cancelled_while(stage, app, lambda task: task.cancel())
    await done.wait()


@odd()
async def variables_reach_the_caller(stage):
    """Context variables that the application sets are visible to its caller, as without a middleware."""

    async def app(_scope, _receive, _send):
        stage.note("inside", _var.get())
        _var.set("inner")

    _var.set("outer")
    before = set(contextvars.copy_context())
    await stage.play(app, http_scope())
    stage.note("after", _var.get(), set(contextvars.copy_context()) == before)


@odd(reports=1)
async def variables_reach_the_caller_of_a_failing_app(stage):
    """The same when the application fails."""

    async def app(_scope, _receive, _send):
        _var.set("inner")
        raise ValueError("odd")

    before = set(contextvars.copy_context())
    await stage.play(app, http_scope())
    stage.note("after", _var.get(), set(contextvars.copy_context()) - before == {_var})


@odd()
async def variables_are_reset_by_token(stage):
    """A token made before the call resets the variable inside of it: one context throughout."""
    token = _var.set("outer")

    async def app(_scope, _receive, _send):
        _var.reset(token)
        stage.note("inside", _var.get("none"))

    await stage.play(app, http_scope())
    stage.note("after", _var.get("none"))


@odd()
async def task_is_the_callers(stage):
    """The application runs in the task that called."""

    async def app(_scope, _receive, send):
        stage.note("same", asyncio.current_task() is task)
        await send(start())
        stage.note("still", asyncio.current_task() is task)

    task = asyncio.current_task()
    before = len(asyncio.all_tasks())
    await stage.play(app, http_scope())
    stage.note("tasks", len(asyncio.all_tasks()) - before)


@odd(reports=1)
async def run_in_an_eager_task(stage):
    """A task that begins at once, as from Python 3.12 on, may end before anybody awaits it."""

    async def app(_scope, _receive, send):
        await send(start())
        raise ValueError("at once")

    loop, sent = asyncio.get_running_loop(), []

    async def send(message):
        sent.append(message)

    call = stage.wrap(app)(http_scope(), None, send)
    task = asyncio.Task(call, loop=loop, **({"eager_start": True} if sys.version_info >= (3, 12) else {}))
    stage.note("done", task.done() or sys.version_info < (3, 12))
    await asyncio.wait([task])
    stage.note("ended", task.exception(), *sent)


def _step(coroutine, context, value=None):
    try:
        return "yielded", context.run(coroutine.send, value)
    except StopIteration as stop:
        return "returned", stop.value
    except BaseException as error:  # noqa: BLE001 - whatever it raises is a fact
        return "raised", type(error).__name__


@types.coroutine
def _ask(question):
    return (yield question)


@odd()
async def driven_by_hand(stage):
    """What the application yields and is sent passes, whatever drives it."""

    async def app(_scope, _receive, _send):
        return [await _ask("first"), await _ask({"second": 2})]

    coroutine = stage.wrap(app)(http_scope(), None, None)
    context = contextvars.copy_context()
    for value in (None, "one", "two"):
        stage.note(*_step(coroutine, context, value))


@odd()
async def driven_in_another_context_each_step(stage):
    """Each step may run in another context; nothing of it breaks the call."""

    async def app(_scope, _receive, _send):
        for number in range(3):
            await _ask(number)
        return "done"

    coroutine = stage.wrap(app)(http_scope(), None, None)
    for _ in range(4):
        stage.note(*_step(coroutine, contextvars.Context()))


@odd()
async def thrown_into(stage):
    """An exception thrown into the coroutine arrives at the application's await."""

    async def app(_scope, _receive, _send):
        try:
            await _ask("first")
        except KeyError as error:
            stage.note("arrived", error is thrown)
        return await _ask("second")

    thrown = KeyError("thrown")
    coroutine = stage.wrap(app)(http_scope(), None, None)
    stage.note("first", coroutine.send(None))
    stage.note("second", coroutine.throw(thrown))
    stage.note(*_step(coroutine, contextvars.copy_context(), "end"))


@odd()
async def closed_in_the_middle(stage):
    """A coroutine that is closed cleans up at once."""

    async def app(_scope, _receive, _send):
        try:
            await _ask("first")
        except GeneratorExit:
            stage.note("closing")
            raise
        finally:
            stage.note("cleaned up")

    coroutine = stage.wrap(app)(http_scope(), None, None)
    coroutine.send(None)
    coroutine.close()
    stage.note("closed", coroutine.cr_frame)


@odd()
async def closed_before_the_first_step(stage):
    """A coroutine that never ran is closed without a trace."""

    async def app(_scope, _receive, _send):
        stage.note("entered")

    stage.wrap(app)(http_scope(), None, None).close()
    stage.note("closed")


@odd(reports=1)
async def closed_and_refusing(stage):
    """An application that awaits while it is closed fails as it always would."""

    async def app(_scope, _receive, _send):
        try:
            await _ask("first")
        finally:
            await _ask("refusing")

    coroutine = stage.wrap(app)(http_scope(), None, None)
    coroutine.send(None)
    try:
        coroutine.close()
    except RuntimeError as error:
        stage.note("raised", str(error))


@odd()
async def generators_end_in_the_request(stage):
    """An application's asynchronous generator is closed where the application closes it."""

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            stage.note("closed", asyncio.current_task() is task, _var.get("none"))

    async def app(_scope, _receive, send):
        _var.set("request")
        async with aclosing(numbers()) as given:
            async for number in given:
                await send(body(bytes([number]), more_body=True))
                break

    task = asyncio.current_task()
    await stage.play(app, http_scope())


@odd()
async def nested_hundreds_deep(stage):
    """A middleware costs one frame of the stack, so deep stacks of applications still run."""

    class Layer:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)

    async def app(_scope, _receive, send):
        await send(start())
        await send(body(b"from below"))

    for _ in range(300):
        app = Layer(app)
    await stage.play(app, http_scope())


@odd()
async def stack_is_one_frame_deeper(stage):
    """Synchronous code in the application has the stack that it has behind any middleware."""

    async def app(_scope, _receive, _send):
        depth, frame = 0, sys._getframe()
        while frame is not None:
            depth, frame = depth + 1, frame.f_back
        stage.note("is shallow", depth < 100)

    await stage.play(app, http_scope())


async def _plain(_scope, _receive, send):
    await send(start())
    await send(body(b"odd callable"))
    return "returned"


@odd()
async def app_as_plain_function(stage):
    """A function that returns a coroutine is an application."""

    def app(scope, receive, send):
        return _plain(scope, receive, send)

    await stage.play(app, http_scope())


@odd()
async def app_as_task_or_future(stage):
    """A function that returns a task or a future is an application."""
    await stage.play(lambda *given: asyncio.ensure_future(_plain(*given)), http_scope())
    future = asyncio.get_running_loop().create_future()
    future.set_result("settled")
    await stage.play(lambda *_: future, http_scope())


@odd()
async def app_as_object(stage):
    """An object with `__call__` is an application, and so is a bound method."""

    class App:
        __slots__ = ("answer",)

        async def __call__(self, scope, receive, send):
            return await _plain(scope, receive, send)

        def method(self, scope, receive, send):
            return _plain(scope, receive, send)

        @classmethod
        async def class_method(cls, scope, receive, send):
            return await _plain(scope, receive, send)

    for app in (App(), App().method, App.class_method):
        await stage.play(app, http_scope())


@odd()
async def app_as_partial(stage):
    """A partial and a decorated function are applications."""

    async def with_setting(setting, scope, receive, send):
        stage.note("setting", setting)
        return await _plain(scope, receive, send)

    @functools.wraps(_plain)
    def decorated(*arguments, **keywords):
        return _plain(*arguments, **keywords)

    await stage.play(functools.partial(with_setting, 7), http_scope())
    await stage.play(decorated, http_scope())


@odd()
async def app_as_class(stage):
    """A class whose instances can be awaited is an application."""

    class App:
        def __init__(self, scope, receive, send):
            self.given = scope, receive, send

        def __await__(self):
            return _plain(*self.given).__await__()

    await stage.play(App, http_scope())


@odd()
async def app_as_generator(stage):
    """A generator-based coroutine is an application."""

    @types.coroutine
    def app(scope, receive, send):
        return (yield from _plain(scope, receive, send).__await__())

    await stage.play(app, http_scope())


@odd()
async def app_with_odd_parameters(stage):
    """The application's own names for its parameters do not matter."""

    async def app(*given, **keywords):
        stage.note("given", len(given), keywords)

    async def positional(s, r, t, /):
        stage.note("given", type(s).__name__)

    await stage.play(app, http_scope())
    await stage.play(positional, http_scope())


@odd()
async def app_that_returns_values(stage):
    """What the application returns reaches the caller."""
    for value in (None, 7, "text", [1, 2], False):

        async def app(_scope, _receive, _send, value=value):
            return value

        await stage.play(app, http_scope())


@odd()
async def app_that_calls_itself(stage):
    """An application may call the wrapped one again, for a path of its own."""
    wrapped = []

    async def app(scope, receive, send):
        if scope["path"] == "/inner":
            return await _plain(scope, receive, send)
        return await wrapped[0]({**scope, "path": "/inner"}, receive, send)

    wrapped.append(stage.wrap(app))
    sent = []

    async def send(message):
        sent.append(message)

    stage.note("returned", await wrapped[0](http_scope(), None, send))
    stage.note("sent", *sent)
