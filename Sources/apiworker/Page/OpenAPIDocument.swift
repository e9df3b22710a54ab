import NIOCore

/// The description of the API at `/openapi.json`: docs/openapi.yaml as JSON, written by scripts/openapi.
enum OpenAPIDocument {
    /// The response to `GET /openapi.json`, made once.
    static let response = JSONResponse.entity(ByteBuffer(bytes: PackageResources.openapi_json))
}
