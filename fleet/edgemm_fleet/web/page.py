"""The page under `/`: HTML, style and script of our own, from this package alone.

The page itself tells only the fleet's name. Its script reads the API with a token. The user pastes the token, or a link
carries it behind `#token=`, which browsers do not send to any server.
"""

from __future__ import annotations

from flask import Blueprint, Response, render_template

from edgemm import __version__

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page(fleet: str) -> Blueprint:
    """Make the page of a fleet."""
    blueprint = Blueprint(
        "page", __name__, static_folder="static", template_folder="templates", static_url_path="/page"
    )

    @blueprint.get("/")
    def show() -> str:
        return render_template("page.html", fleet=fleet, version=__version__)

    @blueprint.after_request
    def secure(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    return blueprint
