"""The dashboard: our static files, and plotly's JavaScript from its wheel. The page loads nothing from other hosts.

Browsers load it from the gateway, which serves orders and market data at the same address.
"""

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from microexchange.enum_terms import ORDER_TYPES, TIMES_IN_FORCE
from microexchange.forwarding import IS_FORWARDED
from microexchange.web import json_response

FOLDER = Path(str(files("market_data_feed").joinpath("static")))
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""The content security policy. Inline styles are allowed because plotly sets styles of its elements."""

_ORDER_TERMS = {
    "order_types": {
        name: {
            "price": terms.has_price,
            "trigger": terms.trigger is not None,
            "post_only": terms.post_only,
            "display": terms.display,
            "times_in_force": [value for value in TIMES_IN_FORCE if value in terms.times_in_force],
        }
        for name, terms in ORDER_TYPES.items()
    },
    "times_in_force": {name: {"rests": terms.rests, "end": terms.has_end} for name, terms in TIMES_IN_FORCE.items()},
}
"""The fields of each order type. The ticket shows those that an order can have."""


def add_dashboard(app: FastAPI, gateway_port: int, classroom: bool, currency: str) -> None:
    """Add `/`, its files under `/dashboard/`, and their settings to `app`.

    The feed's own address takes no orders, so `/` redirects to the gateway there: to `gateway_port` of the same host.
    The pages show cash in `currency`, an ISO 4217 code.
    """

    @app.get("/", include_in_schema=False)
    async def get_page(request: Request) -> Response:
        if not request.scope.get(IS_FORWARDED):
            return RedirectResponse(str(request.url.replace(port=gateway_port)))
        return FileResponse(FOLDER / "index.html", headers={"Content-Security-Policy": POLICY})

    @app.get("/dashboard/config.json", include_in_schema=False)
    async def get_config() -> Response:
        return json_response({"classroom": classroom, "currency": currency, **_ORDER_TERMS})

    @app.get("/dashboard/plotly.js", include_in_schema=False)
    async def get_plotly() -> Response:
        path = Path(str(files("plotly").joinpath("package_data", "plotly.min.js")))
        return FileResponse(path, media_type="text/javascript", headers={"Cache-Control": "max-age=86400"})

    app.mount("/dashboard", StaticFiles(directory=FOLDER), name="dashboard")
