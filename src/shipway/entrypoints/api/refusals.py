"""How the control API refuses: always `{"error": {"message", "type", "hint"}, "request_id"}`."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from shipway.core.clock import Clock
from shipway.core.errors import NotFoundError, ShipwayError, UsageError
from shipway.core.ids import ulid
from shipway.entrypoints.failures import failure_of

_NOT_FOUND = 404


def handle_errors(api: FastAPI, clock: Clock) -> None:
    """Give every reply its request id, and every refusal the documented shape."""

    @api.middleware("http")
    async def add_request_id(request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Any:
        request.state.request_id = f"req_{ulid(clock.now_s())}"
        response = await call_next(request)
        response.headers["X-Request-Id"] = request.state.request_id
        return response

    @api.exception_handler(ShipwayError)
    async def shipway_error(request: Request, error: ShipwayError) -> JSONResponse:
        return _refusal(request, error, failure_of(error).http_status)

    @api.exception_handler(RequestValidationError)
    async def wrong_request(request: Request, error: RequestValidationError) -> JSONResponse:
        told = "; ".join(f"{'.'.join(map(str, item['loc'][1:])) or 'body'}: {item['msg']}" for item in error.errors())
        is_json = "json" in request.headers.get("content-type", "json")
        found = UsageError(told, hint="" if is_json else "send JSON with `Content-Type: application/json`")
        return _refusal(request, found, failure_of(found).http_status)

    @api.exception_handler(HTTPException)
    async def no_such_path(request: Request, error: HTTPException) -> JSONResponse:
        where = f"{request.method} {request.url.path}"
        if error.status_code == _NOT_FOUND:
            return _refusal(request, NotFoundError(f"there is no {where}"), error.status_code)
        return _refusal(request, UsageError(f"{where}: {error.detail}"), error.status_code)


def _refusal(request: Request, error: ShipwayError, status: int) -> JSONResponse:
    body = {"message": error.message, "type": type(error).__name__, "hint": error.hint}
    return JSONResponse({"error": body, "request_id": getattr(request.state, "request_id", "")}, status)
