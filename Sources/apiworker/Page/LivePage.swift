import NIOCore
import NIOHTTP1

/// The page at `/ui`: one file inside the program, without external resources.
enum LivePage {
    private static let body = ByteBuffer(bytes: PackageResources.ui_html)
    private static let tag = EntityTag(of: body).description

    /// The policy allows the functions of the page and nothing else: no other origin, no frame around it.
    private static let policy =
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
        + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

    static var response: Response {
        var response = Response(type: "text/html; charset=utf-8", body)
        response.headers.add(contentsOf: [
            ("Content-Security-Policy", policy), ("Cache-Control", "no-cache"), ("ETag", tag),
            ("X-Content-Type-Options", "nosniff"),
        ])
        return response
    }
}
