"""A model behind HTTP, with the interface that clients of OpenAI's expect.

An ASGI application (Starlette), and a program that serves it (uvicorn). The model runs in the
engine's thread; here requests are read, and tokens become text.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect
    from starlette.requests import Request as HttpRequest
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route
    from starlette.types import Receive, Scope, Send
except ImportError as error:
    raise ImportError(
        f"the server of cermet.llm needs the package {error.name}: "
        "python -m pip install 'cermet[serve]'"
    ) from error

from cermet.llm.engine import Closed, Engine, Full, Job
from cermet.llm.model import Model
from cermet.llm.protocol import Choice, Form, Request, RequestError, Served, read
from cermet.llm.run import Runner
from cermet.llm.sample import Sampling
from cermet.llm.tokenizer import Tokenizer

MAX_BODY = 8 << 20  # bytes
_DRAINED = 8  # so many times as much is read of a body that is too large, to answer its client
DEFAULT = Sampling(temperature=1.0)  # that of the interface


def app(
    model: Model,
    tokenizer: Tokenizer,
    *,
    name: str = "cermet",
    sampling: Sampling = DEFAULT,
    max_tokens: int | None = None,
    limit: int | None = None,
    places: int = 8,
    queue: int = 32,
    max_body: int = MAX_BODY,
) -> Starlette:
    """An ASGI application that serves a model: /v1/chat/completions, /v1/completions, /v1/models
    and /health.

    Args:
        model: the model, whose weights must not change.
        tokenizer: its tokenizer.
        name: how clients call the model.
        sampling: how tokens are chosen where a request says nothing. Without a seed in the request
            its answer has random numbers of its own.
        max_tokens: how many tokens an answer has at most where a request says nothing; None: as
            many as there is room for.
        limit: for how many tokens of a text there is room; None: as many as the model was trained
            for.
        places: how many answers are written at once; they share each step of the model.
        queue: how many more may wait. Beyond, requests are refused with status 429.
        max_body: how many bytes a request may have.

    The application's ``state.engine`` is the :class:`~cermet.llm.engine.Engine`; it begins with the
    first request and is closed at the end of the application's lifespan.

    Raises:
        ValueError: there is no place, or the queue is negative.
        ImportError: the extra ``serve`` is not installed.
    """
    engine = Engine(Runner(model), limit=limit, ends=tokenizer.ends, places=places, queue=queue)
    served = Served(
        name,
        tokenizer,
        model.config.vocab_size,
        engine.limit,
        most=places + queue,
        sampling=sampling,
        max_tokens=max_tokens,
    )
    service = _Service(engine, served, max_body)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(engine.close)

    application = Starlette(
        routes=[
            Route("/v1/chat/completions", service.chat, methods=["POST"]),
            Route("/v1/completions", service.complete, methods=["POST"]),
            Route("/v1/models", service.models),
            Route("/v1/models/{name:path}", service.model),
            Route("/health", service.health),
        ],
        exception_handlers={
            RequestError: _on_request_error,
            HTTPException: _on_http_exception,
            Exception: _on_exception,
        },
        lifespan=lifespan,
    )
    application.state.engine = engine
    return application


class Server(uvicorn.Server):
    """A server of :func:`app`. When it stops, it lets go of the answers that are being written."""

    def __init__(self, application: Starlette, **options: Any):
        super().__init__(
            uvicorn.Config(
                application, log_level="warning", ws="none", timeout_graceful_shutdown=10, **options
            )
        )
        self.engine: Engine = application.state.engine

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await asyncio.to_thread(self.engine.close)
        await super().shutdown(sockets)


def serve(
    model: Model,
    tokenizer: Tokenizer,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    quiet: bool = False,
    **options: Any,
) -> None:
    """Serves a model until the process is interrupted (SIGINT) or terminated (SIGTERM).

    Whoever reaches the port may ask: the server asks nobody who they are.

    Args:
        model: the model, whose weights must not change.
        tokenizer: its tokenizer.
        host: the address; 127.0.0.1 is reached from this machine alone.
        port: the port; 0: one that is free, which is printed.
        quiet: whether nothing is printed.
        options: those of :func:`app`.

    Raises:
        OSError: the port is taken, or there is no such address.
        ValueError: an option is wrong.
        ImportError: the extra ``serve`` is not installed.
    """
    application = app(model, tokenizer, **options)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listening:
        server = Server(application)
        if not quiet:
            shown = f"[{host}]" if ":" in host else host
            print(f"serving on http://{shown}:{listening.getsockname()[1]}/v1", flush=True)
        server.run(sockets=[listening])


# ---- Errors ----


def _refusal(error: RequestError) -> Response:
    headers = {"Retry-After": "1"} if error.status == 429 else None
    return JSONResponse(error.body, error.status, headers)


async def _on_request_error(_: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return _refusal(error)


async def _on_http_exception(request: HttpRequest, error: Exception) -> Response:
    """Of the routes: 404 and 405."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path[:200]}: {error.detail}"
    code = {404: "unknown_url", 405: "method_not_allowed"}.get(error.status_code)
    response = _refusal(RequestError(message, status=error.status_code, code=code))
    response.headers.update(error.headers or {})
    return response


async def _on_exception(_: HttpRequest, error: Exception) -> Response:
    return _refusal(_failure(error))


def _failure(error: Exception) -> RequestError:
    """What a client is told of an exception: not what it says, which may be of other clients."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, Full):
        message = f"the server is busy: {error}"
        return RequestError(message, status=429, kind="rate_limit_error", code="queue_full")
    if isinstance(error, Closed):
        message, status, code = "the server is stopping", 503, "stopping"
    else:
        message, status, code = f"the model failed: {type(error).__name__}", 500, "internal_error"
    return RequestError(message, status=status, kind="server_error", code=code)


# ---- Requests ----


class _Answers:
    """The answers to one request, as they are written."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer, request: Request):
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[tuple[int, int | str | Exception]] = asyncio.Queue()
        self.choices: list[Choice] = []
        self._jobs: list[Job] = []
        for prompt in request.prompts:
            for i in range(request.choices):
                seed = (request.sampling.seed + i) % 2**64
                sampling = replace(request.sampling, seed=seed)
                self._jobs.append(Job(prompt, sampling, request.max_tokens, self._putter()))
                self.choices.append(Choice(tokenizer, request.stops))
        engine.submit(self._jobs)

    def _putter(self) -> Callable[[int | str | Exception], None]:
        index = len(self._jobs)

        def put(item: int | str | Exception) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for it
                self._loop.call_soon_threadsafe(self._arrived.put_nowait, (index, item))

        return put

    async def pieces(self) -> AsyncIterator[tuple[int, str]]:
        """Pieces of text with the numbers of their choices; a choice that has a ``finish`` with its
        piece has no more.

        Raises:
            Exception: what went wrong with one of them.
        """
        unfinished = set(range(len(self.choices)))
        while unfinished:
            index, item = await self._arrived.get()
            if index not in unfinished:
                continue  # was on its way when a stop string came
            if isinstance(item, Exception):
                raise item
            choice = self.choices[index]
            piece = choice.add(item) if isinstance(item, int) else choice.end(item)
            if choice.finish is not None:
                unfinished.discard(index)
                self._engine.cancel([self._jobs[index]])
            if piece or choice.finish is not None:
                yield index, piece

    def leave(self) -> None:
        """Nobody waits for the answers any more, or they are whole."""
        self._engine.cancel(self._jobs)


class _Stream(StreamingResponse):
    """Events that end, whichever way, with leave being taken of the answers."""

    def __init__(self, answers: _Answers, events: AsyncIterator[bytes]):
        super().__init__(
            events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
        )
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with contextlib.suppress(ClientDisconnect):
                await super().__call__(scope, receive, send)
        finally:
            self._answers.leave()


class _Service:
    """What the routes do."""

    def __init__(self, engine: Engine, served: Served, max_body: int):
        self.engine = engine
        self.served = served
        self.max_body = max_body

    async def health(self, _: HttpRequest) -> Response:
        running, waiting = self.engine.counts
        return JSONResponse({"status": "ok", "running": running, "waiting": waiting})

    async def models(self, _: HttpRequest) -> Response:
        return JSONResponse({"object": "list", "data": [self.served.model()]})

    async def model(self, http: HttpRequest) -> Response:
        self.served.require(http.path_params["name"])
        return JSONResponse(self.served.model())

    async def chat(self, http: HttpRequest) -> Response:
        return await self._answer(http, chat=True)

    async def complete(self, http: HttpRequest) -> Response:
        return await self._answer(http, chat=False)

    async def _answer(self, http: HttpRequest, *, chat: bool) -> Response:
        try:
            body = await self._body(http)
        except ClientDisconnect:
            return Response()
        # In another thread: a long text takes a while, and other clients do not wait for it.
        request = await asyncio.to_thread(read, body, self.served, chat=chat)
        try:
            answers = _Answers(self.engine, self.served.tokenizer, request)
        except (Full, Closed) as error:
            return _refusal(_failure(error))
        form = Form(self.served.name, chat, sum(map(len, request.prompts)))
        if request.stream:
            return _Stream(answers, _events(answers, form, request.usage))
        try:
            return await _unless_left(http, _whole(answers, form))
        finally:
            answers.leave()

    async def _body(self, http: HttpRequest) -> bytes:
        parts, size = [], 0
        async for part in http.stream():
            size += len(part)
            if size <= self.max_body:
                parts.append(part)
            elif size > _DRAINED * self.max_body:
                break
        if size > self.max_body:
            raise RequestError(
                f"the body has more than {self.max_body} bytes", status=413, code="body_too_large"
            )
        return b"".join(parts)


async def _whole(answers: _Answers, form: Form) -> Response:
    texts = [""] * len(answers.choices)
    try:
        async for index, piece in answers.pieces():
            texts[index] += piece
    except Exception as error:  # noqa: BLE001  (the engine has logged it)
        return _refusal(_failure(error))
    return JSONResponse(form.whole(answers.choices, texts))


async def _unless_left(http: HttpRequest, work: Coroutine[Any, Any, Response]) -> Response:
    """The response that is being made, unless the client leaves before it is there."""

    async def left() -> None:
        while (await http.receive())["type"] != "http.disconnect":
            pass

    making, leaving = asyncio.create_task(work), asyncio.create_task(left())
    try:
        await asyncio.wait([making, leaving], return_when=asyncio.FIRST_COMPLETED)
        return making.result() if making.done() else Response()
    finally:
        making.cancel()
        leaving.cancel()


async def _events(answers: _Answers, form: Form, usage: bool) -> AsyncIterator[bytes]:
    """The answers as server-sent events."""
    try:
        if form.chat:
            for index in range(len(answers.choices)):
                yield _event(form.beginning(index))
        async for index, piece in answers.pieces():
            if piece:
                yield _event(form.piece(index, piece))
            finish = answers.choices[index].finish
            if finish is not None:
                yield _event(form.piece(index, None, finish))
        if usage:
            yield _event(form.last(answers.choices))
    except Exception as error:  # noqa: BLE001  (the engine has logged it)
        yield _event(_failure(error).body)
        return
    yield b"data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n".encode()
