"""A Qdrant server's gRPC interface on a real socket, over qdrant-client's local mode."""

from __future__ import annotations

from collections import deque
from typing import Any

import grpc
from qdrant_client import AsyncQdrantClient, models
from qdrant_client import grpc as wire
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

DONE = wire.PointsOperationResponse(
    result=wire.UpdateResult(operation_id=1, status=wire.UpdateStatus.Completed), time=0.0
)


class GrpcDouble:
    """Answers the calls our server engine makes; `faults` are status codes used up by the points calls.

    Args:
        tls: key and certificate, PEM.
        api_key: what each call must carry.
    """

    def __init__(self, tls: tuple[bytes, bytes] | None = None, api_key: str | None = None) -> None:
        self.points = AsyncQdrantClient(location=":memory:")
        self.indexes: set[str] = set()
        self.calls: list[str] = []
        self.faults: deque[grpc.StatusCode] = deque()
        self.server = grpc.aio.server(interceptors=[KeyCheck(api_key)] if api_key else [])
        if tls is None:
            self.port = self.server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self.server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([tls]))
        wire.add_CollectionsServicer_to_server(Collections(self), self.server)
        wire.add_PointsServicer_to_server(Points(self), self.server)

    async def note(self, call: str, context: grpc.aio.ServicerContext) -> None:
        self.calls.append(call)
        if self.faults:
            await context.abort(self.faults.popleft(), "made to fail")


class KeyCheck(grpc.aio.ServerInterceptor):
    """Refuses calls without the key, as the real server does."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        if dict(details.invocation_metadata).get("api-key") == self._api_key:
            return await continuation(details)

        async def refuse(_request: Any, context: grpc.aio.ServicerContext) -> None:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "Invalid API key or JWT")

        return grpc.unary_unary_rpc_method_handler(
            refuse, lambda raw: raw, lambda answer: answer.SerializeToString()
        )


class Collections(wire.CollectionsServicer):
    def __init__(self, double: GrpcDouble) -> None:
        self.double = double

    async def CollectionExists(self, request: Any, context: Any) -> Any:
        exists = await self.double.points.collection_exists(request.collection_name)
        return wire.CollectionExistsResponse(result=wire.CollectionExists(exists=exists))

    async def Create(self, request: Any, context: Any) -> Any:
        if await self.double.points.collection_exists(request.collection_name):
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "Collection already exists!")
        vectors = GrpcToRest.convert_vectors_config(request.vectors_config)
        await self.double.points.create_collection(request.collection_name, vectors)
        return wire.CollectionOperationResponse(result=True)

    async def Get(self, request: Any, context: Any) -> Any:
        info = await self.double.points.get_collection(request.collection_name)
        count = await self.double.points.count(request.collection_name)
        vectors = RestToGrpc.convert_vectors_config(info.config.params.vectors)
        keyword = wire.PayloadSchemaInfo(data_type=wire.PayloadSchemaType.Keyword)
        return wire.GetCollectionInfoResponse(
            result=wire.CollectionInfo(
                status=wire.CollectionStatus.Green,
                optimizer_status=wire.OptimizerStatus(ok=True),
                segments_count=1,
                points_count=count.count,
                config=wire.CollectionConfig(
                    params=wire.CollectionParams(shard_number=1, vectors_config=vectors),
                    wal_config=wire.WalConfigDiff(wal_capacity_mb=32, wal_segments_ahead=0),
                    hnsw_config=wire.HnswConfigDiff(m=0, ef_construct=128, full_scan_threshold=51200),
                    optimizer_config=wire.OptimizersConfigDiff(
                        deleted_threshold=0.2,
                        vacuum_min_vector_number=1000,
                        default_segment_number=0,
                        flush_interval_sec=5,
                    ),
                ),
                payload_schema=dict.fromkeys(self.double.indexes, keyword),
            )
        )


class Points(wire.PointsServicer):
    def __init__(self, double: GrpcDouble) -> None:
        self.double = double

    async def CreateFieldIndex(self, request: Any, context: Any) -> Any:
        self.double.indexes.add(request.field_name)
        return DONE

    async def Upsert(self, request: Any, context: Any) -> Any:
        await self.double.note("Upsert", context)
        points = [GrpcToRest.convert_point_struct(point) for point in request.points]
        await self.double.points.upsert(request.collection_name, points)
        return DONE

    async def Delete(self, request: Any, context: Any) -> Any:
        await self.double.note("Delete", context)
        selector = GrpcToRest.convert_points_selector(request.points)
        await self.double.points.delete(request.collection_name, selector)
        return DONE

    async def Count(self, request: Any, context: Any) -> Any:
        await self.double.note("Count", context)
        where = GrpcToRest.convert_filter(request.filter)
        answer = await self.double.points.count(request.collection_name, where)
        return wire.CountResponse(result=wire.CountResult(count=answer.count))

    async def Scroll(self, request: Any, context: Any) -> Any:
        await self.double.note("Scroll", context)
        where = GrpcToRest.convert_filter(request.filter)
        offset = GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None
        page, following = await self.double.points.scroll(
            request.collection_name,
            where,
            limit=request.limit,
            offset=offset,
            with_vectors=request.with_vectors.enable,
        )
        answer = wire.ScrollResponse(result=[RestToGrpc.convert_record(record) for record in page])
        if following is not None:
            answer.next_page_offset.CopyFrom(RestToGrpc.convert_extended_point_id(following))
        return answer

    async def QueryBatch(self, request: Any, context: Any) -> Any:
        await self.double.note("QueryBatch", context)
        queries = [
            models.QueryRequest(
                query=list(query.query.nearest.dense.data),
                filter=GrpcToRest.convert_filter(query.filter),
                limit=query.limit,
                with_payload=True,
            )
            for query in request.query_points
        ]
        answers = await self.double.points.query_batch_points(request.collection_name, queries)
        return wire.QueryBatchResponse(
            result=[
                wire.BatchResult(result=[RestToGrpc.convert_scored_point(point) for point in answer.points])
                for answer in answers
            ]
        )
