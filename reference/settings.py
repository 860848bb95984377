"""The table of settings in docs/running.md, made from the settings classes."""

import json
from collections import defaultdict
from typing import Any

from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from clearinghouse.service import ClearingSettings
from market_data_feed.service import FeedSettings
from matching_engine.service import EngineSettings
from order_entry_gateway.service import GatewaySettings
from trading_bots.__main__ import BotSettings

SETTINGS: dict[str, type[BaseSettings]] = {
    "engine": EngineSettings,
    "clearinghouse": ClearingSettings,
    "feed": FeedSettings,
    "gateway": GatewaySettings,
    "bots": BotSettings,
}
SERVICES = 4
INTERNAL = ("parent_pipe", "port_flag")
"""Settings that only the launcher gives."""
BEGIN, END = "<!-- settings -->\n", "<!-- end settings -->"


def table() -> str:
    """Return a table in Markdown: each variable, the services that read it, its default and its description."""
    services: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for service, settings in SETTINGS.items():
        for name, field in settings.model_fields.items():
            if name in INTERNAL:
                continue
            text = (field.description or "").replace("|", "\\|")
            services[f"`MX_{name.upper()}`", _default(field), text].append(service)
    rows = ["| variable | of | default | |", "| --- | --- | --- | --- |"]
    for (variable, default, text), names in services.items():
        rows.append(f"| {variable} | {'services' if len(names) == SERVICES else ', '.join(names)} | {default} | {text} |")
    return "\n".join(rows) + "\n"


def _default(field: Any) -> str:
    if field.default_factory is not None:
        return "your user's data folder"
    value = field.default
    if value is PydanticUndefined:
        return "must be given"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict) and value:
        return f"`{json.dumps({name: str(item) for name, item in value.items()})}`"
    return f"`{value}`" if str(value) else "empty"


def in_page(page: str) -> str:
    """Return the page with its table replaced by the current one."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"
