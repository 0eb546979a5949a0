"""`/docs`: the API's description as a page to read and to try, from files of this installation alone."""

from pathlib import Path

import flask_swagger_ui
from apiflask import APIBlueprint
from flask import Response, send_from_directory

from crm_bridge.web.problems import Problem

_ASSETS = Path(flask_swagger_ui.__file__).parent / "dist"
_SERVED = frozenset({"swagger-ui.css", "swagger-ui-bundle.js", "favicon-16x16.png", "favicon-32x32.png"})
#: Nothing from elsewhere; pictures in style sheets are written as data.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Truetick: HTTP API</title>
  <link rel="icon" href="/docs/assets/favicon-32x32.png" sizes="32x32">
  <link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
  <div id="page">
    <p>This page needs JavaScript. The description itself is at <a href="/openapi.json">/openapi.json</a>.</p>
  </div>
  <script src="/docs/assets/swagger-ui-bundle.js"></script>
  <script src="/docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  persistAuthorization: false,
  validatorUrl: null,
});
"""


def routes() -> APIBlueprint:
    blueprint = APIBlueprint("docs", __name__, url_prefix="/docs", enable_openapi=False)

    @blueprint.get("")
    def page() -> Response:
        return Response(_PAGE, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": POLICY})

    @blueprint.get("/start.js")
    def start() -> Response:
        return Response(_START, content_type="text/javascript; charset=utf-8")

    @blueprint.get("/assets/<name>")
    def asset(name: str) -> Response:
        if name not in _SERVED:
            raise Problem(404, "unknown_route", "There is no such file.")
        return send_from_directory(_ASSETS, name, max_age=3600)

    return blueprint
