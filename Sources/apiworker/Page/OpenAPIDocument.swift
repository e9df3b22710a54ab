import NIOCore

/// The description of the API at `/openapi.json`: docs/openapi.yaml as JSON, written by scripts/openapi.
enum OpenAPIDocument {
    /// The body of `GET /openapi.json`.
    static let body = ByteBuffer(bytes: PackageResources.openapi_json)
}
