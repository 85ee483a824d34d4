"""A stand-in for KurrentDB, on a real gRPC server that the real client talks to: `python streams.py PORT`.

It knows two calls, to append with an expected version and to read a stream; what the client makes of the answers is
the client's own.
"""

from __future__ import annotations

import asyncio
import sys

import grpc
from google.protobuf import any_pb2, empty_pb2
from kurrentdbclient.protos.v1 import shared_pb2, status_pb2, streams_pb2, streams_pb2_grpc

streams: dict[bytes, list[streams_pb2.BatchAppendReq.ProposedMessage]] = {}


class Streams(streams_pb2_grpc.StreamsServicer):
    async def BatchAppend(self, requests, context):  # noqa: N802 gRPC's names
        async for request in requests:
            stream = streams.setdefault(request.options.stream_identifier.stream_name, [])
            expected = request.options.WhichOneof("expected_stream_position")
            position = request.options.stream_position if expected == "stream_position" else -1
            proposed = list(request.proposed_messages)
            stored = stream[position + 1 : position + 1 + len(proposed)]
            is_known = [message.id for message in stored] == [message.id for message in proposed]  # sent again
            if expected != "any" and position != len(stream) - 1 and not is_known:
                yield streams_pb2.BatchAppendResp(error=wrong_version(len(stream)))
                continue
            stream.extend(() if is_known else proposed)
            position = shared_pb2.AllStreamPosition(commit_position=len(stream))
            yield streams_pb2.BatchAppendResp(success=streams_pb2.BatchAppendResp.Success(position=position))

    async def Read(self, request, context):  # noqa: N802
        identifier = request.options.stream.stream_identifier
        stream = list(enumerate(streams.get(identifier.stream_name, ())))
        if not stream:
            yield streams_pb2.ReadResp(
                stream_not_found=streams_pb2.ReadResp.StreamNotFound(stream_identifier=identifier)
            )
            return
        if request.options.read_direction == streams_pb2.ReadReq.Options.Backwards:
            stream.reverse()
        for revision, message in stream[: request.options.count]:
            event = streams_pb2.ReadResp.ReadEvent.RecordedEvent(
                id=message.id,
                stream_identifier=identifier,
                stream_revision=revision,
                metadata={**message.metadata, "created": "0"},
                data=message.data,
            )
            yield streams_pb2.ReadResp(event=streams_pb2.ReadResp.ReadEvent(event=event, commit_position=revision))


def wrong_version(length: int) -> status_pb2.Status:
    if length:
        found = shared_pb2.WrongExpectedVersion(current_stream_revision=length - 1)
    else:
        found = shared_pb2.WrongExpectedVersion(current_no_stream=empty_pb2.Empty())
    details = any_pb2.Any()
    details.Pack(found)
    return status_pb2.Status(details=details)


async def serve(port: int) -> None:
    server = grpc.aio.server()
    streams_pb2_grpc.add_StreamsServicer_to_server(Streams(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
