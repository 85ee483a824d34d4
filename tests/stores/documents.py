"""A small service of JSON documents that knows ETags, on a real HTTP server: `python documents.py PORT`.

`/chats/NAME` answers 412 where `If-Match` names another version, as RFC 9110 has it; `/lists/NAME` is the same
service but answers 409, as many do. Without `If-Match` a PUT is refused with 428. A first PUT says `If-None-Match: *`.

`/v1/kv/chats/NAME` stands for Consul: a PUT with `?cas=INDEX` answers whether the index was the key's.
"""

from __future__ import annotations

import base64
import json
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

documents: dict[str, tuple[int, object]] = {}
CONFLICT = {"chats": 412, "lists": 409}


async def get(request: Request) -> Response:
    if request.url.path not in documents:
        return JSONResponse({"error": "not found"}, 404)
    version, body = documents[request.url.path]
    return JSONResponse(body, headers={"ETag": f'"{version}"'})


async def put(request: Request) -> Response:
    body = json.loads(await request.body())
    # From here on nothing else runs: comparing and writing are one step.
    version, _ = documents.get(request.url.path, (0, None))
    expected = request.headers.get("If-Match")
    if expected is None and request.headers.get("If-None-Match") != "*":
        return JSONResponse({"error": "If-Match is required"}, 428)
    if version != 0 if expected is None else expected != f'"{version}"':
        return JSONResponse({"error": "the document was changed"}, CONFLICT[request.path_params["kind"]])
    documents[request.url.path] = (version + 1, body)
    return JSONResponse({}, headers={"ETag": f'"{version + 1}"'})


async def delete(request: Request) -> Response:
    documents.pop(request.url.path, None)
    return Response(status_code=204)


async def get_key(request: Request) -> Response:
    if request.url.path not in documents:
        return JSONResponse([], 404)
    index, body = documents[request.url.path]
    value = base64.b64encode(json.dumps(body).encode()).decode()
    return JSONResponse([{"Key": request.path_params["name"], "ModifyIndex": index, "Value": value}])


async def put_key(request: Request) -> Response:
    body = json.loads(await request.body())
    index, _ = documents.get(request.url.path, (0, None))
    if int(request.query_params["cas"]) != index:
        return JSONResponse(False)
    documents[request.url.path] = (index + 1, body)
    return JSONResponse(True)


application = Starlette(
    routes=[
        Route("/v1/kv/chats/{name}", get_key, methods=["GET"]),
        Route("/v1/kv/chats/{name}", put_key, methods=["PUT"]),
        Route("/{kind}/{name}", get, methods=["GET"]),
        Route("/{kind}/{name}", put, methods=["PUT"]),
        Route("/{kind}/{name}", delete, methods=["DELETE"]),
    ]
)

if __name__ == "__main__":
    uvicorn.run(application, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
