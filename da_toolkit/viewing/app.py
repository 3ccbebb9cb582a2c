"""The web application: one page, JSON of the runs it shows, and the pictures that runs hold. It only reads."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from da_toolkit.report.curves import style
from da_toolkit.report.page_assets import SHARED_SCRIPT, STYLE, VIEWER
from da_toolkit.viewing.look import Look
from da_toolkit.viewing.pictures import KINDS, content_of, error_map, files_of, predictions_of
from da_toolkit.viewing.reading import as_json
from da_toolkit.viewing.together import album_of, curves_of
from da_toolkit.viewing.watch import Watch

HOSTS = ("127.0.0.1", "localhost")
"""Names that a browser on this machine, or at the other end of a tunnel, calls the page by. Another site that had its
own name answered with this machine's address would be refused."""
MOST_AT_ONCE = 24
"""Runs that may be shown side by side."""
_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def make_app(watch: Watch) -> Starlette:
    """The application that shows the runs of `watch`."""

    def overview(request: Request) -> Response:
        lines = [{"key": key, **look.summary()} for key, look in watch.runs().items()]
        return _json({"places": [str(place) for place in watch.places], "runs": lines})

    def details(request: Request) -> Response:
        return _json(_run(watch, request.path_params["key"]).details())

    def together(request: Request) -> Response:
        known = watch.runs()
        keys = list(dict.fromkeys(request.query_params.getlist("run")))
        if len(keys) > MOST_AT_ONCE:
            raise HTTPException(400, f"At most {MOST_AT_ONCE} runs are shown side by side.")
        runs = {key: known[key] for key in keys if key in known}
        styles = [dict(zip(("color", "dash"), style(number), strict=True)) for number in range(len(runs))]
        return _json({"runs": list(runs), "styles": styles, "curves": curves_of(runs), "album": album_of(runs)})

    def picture(request: Request) -> Response:
        look = _run(watch, request.path_params["key"])
        file = files_of(look.folder).get(f"{request.path_params['folder']}/{request.path_params['name']}")
        content = content_of(file) if file else None
        if file is None or content is None:
            raise HTTPException(404, "The run has no such picture.")
        return Response(content, media_type=KINDS[file.suffix])

    def errors(request: Request) -> Response:
        files = predictions_of(_run(watch, request.path_params["key"]).folder).get(request.path_params["number"])
        content = error_map(files) if files else None
        if content is None:
            raise HTTPException(404, "The run has no such picture, or it is damaged.")
        return Response(content, media_type="image/png")

    routes = [
        Route("/", _part("page.html", "text/html", lambda page: page.replace("<!-- viewer -->", VIEWER))),
        Route("/page.css", _part("page.css", "text/css", lambda css: STYLE + css)),
        Route("/page.js", _part("page.js", "text/javascript", lambda script: SHARED_SCRIPT + script)),
        Route("/api/runs", overview),
        Route("/api/runs/{key}", details),
        Route("/api/together", together),
        Route("/runs/{key}/errors/{number:int}.png", errors),
        Route("/runs/{key}/{folder}/{name}", picture),
    ]
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False)
    return Starlette(routes=routes, middleware=[Middleware(_Headers), hosts], exception_handlers={HTTPException: _told})


class _Headers:
    """Adds `_HEADERS` to every answer."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        await self.app(scope, receive, with_headers)


def _part(name: str, kind: str, finish: Callable[[str], str]) -> Callable[[Request], Response]:
    content = finish((Path(__file__).parent / name).read_text(encoding="utf-8"))
    return lambda request: Response(content, media_type=kind)


def _json(value: Any) -> Response:
    return Response(as_json(value), media_type="application/json")


def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Response(as_json({"error": error.detail}), error.status_code, media_type="application/json")


def _run(watch: Watch, key: str) -> Look:
    look = watch.run(key)
    if look is None:
        raise HTTPException(404, "There is no such run, or its folder has gone.")
    return look
