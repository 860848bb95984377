"""The REST pages in Markdown, made from the OpenAPI documents of the services."""

from types import SimpleNamespace
from typing import Any, cast

from fastapi import FastAPI

from market_data_feed import rest as feed_rest
from microexchange import __version__
from microexchange.health import Health
from microexchange.web import make_app
from order_entry_gateway import rest as gateway_rest
from order_entry_gateway.account_routes import Registration
from reference.fields import describe

Json = dict[str, Any]
METHODS = ("get", "post", "put", "patch", "delete")
_UNUSED = cast(Any, None)
"""Takes the place of the dependencies of the routes. No request is answered here."""


def gateway() -> FastAPI:
    """Return an app with the routes of the gateway."""
    app = make_app("Order entry", "", Health(), dict)
    gateway_rest.add_routes(app, _UNUSED, _UNUSED, Registration("open", ""))
    return app


def feed() -> FastAPI:
    """Return an app with the routes of the feed."""
    app = make_app("Market data", "", Health(), dict)
    feed_rest.add_routes(app, cast(Any, SimpleNamespace(pool=None)), _UNUSED)
    return app


def document(app: FastAPI) -> Json:
    """Return the OpenAPI document of an app, with the texts of the fields."""
    api = app.openapi()
    api["info"]["version"] = __version__
    describe(api["components"]["schemas"])
    return api


def page(api: Json, file: str) -> str:
    """Return the page of a service in Markdown: all operations by tag, then the types that they use."""
    schemas: Json = api.get("components", {}).get("schemas", {})
    parts = [f"# {api['info']['title']}: REST", f"As a document for tools: [{file}]({file})."]
    by_tag: dict[str, list[str]] = {}
    for path, operations in api["paths"].items():
        for method in METHODS:
            if method in operations:
                tag = (operations[method].get("tags") or ["health"])[0]
                by_tag.setdefault(tag, []).append(_operation(method, path, operations[method]))
    for tag, texts in by_tag.items():
        parts += [f"## {tag.capitalize()}", *texts]
    parts.append("## Types")
    parts += [_type(name, schema) for name, schema in sorted(schemas.items())]
    return "\n\n".join(parts) + "\n"


def _operation(method: str, path: str, operation: Json) -> str:
    lines = [f"### `{method.upper()} {path}`", operation.get("summary", "")]
    if text := operation.get("description", "").strip():
        lines.append(text)
    if parameters := operation.get("parameters"):
        rows = ["| parameter | in | type | |", "| --- | --- | --- | --- |"]
        for parameter in parameters:
            requirement = "" if parameter.get("required") else "optional. "
            name, place, type_ = parameter["name"], parameter["in"], type_text(parameter["schema"])
            rows.append(f"| `{name}` | {place} | {type_} | {requirement}{cell(parameter.get('description', ''))} |")
        lines.append("\n".join(rows))
    if body := operation.get("requestBody"):
        lines.append(f"Body: {_content(body)}")
    answers = []
    for status, answer in sorted(operation["responses"].items()):
        answers.append(f"`{status}` {_content(answer)}".strip())
    lines.append("Answers: " + ", ".join(answers))
    return "\n\n".join(line for line in lines if line)


def _content(body: Json) -> str:
    for media_type, content in body.get("content", {}).items():
        return type_text(content.get("schema", {})) if media_type == "application/json" else f"`{media_type}`"
    return ""


def type_text(schema: Json) -> str:
    """Return a type in words, with a link if it has a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(type_text(part) for part in schema["anyOf"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"] if value is not None)
    if schema.get("type") == "array":
        if "prefixItems" in schema:
            return f"[{', '.join(type_text(part) for part in schema['prefixItems'])}]"
        return f"list of {type_text(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {type_text(schema['additionalProperties'])}"
    type_name = str(schema.get("type", "any"))
    return f"{type_name} ({schema['format']})" if schema.get("format") else type_name


def cell(text: str) -> str:
    """Return a text as a cell of a table, on one line."""
    return " ".join(text.split()).replace("|", "\\|")


def fields(schema: Json) -> str:
    """Return the fields of a type as a table."""
    required = set(schema.get("required", ()))
    rows = ["| field | type | | |", "| --- | --- | --- | --- |"]
    for field, value in schema.get("properties", {}).items():
        default = f"`{value['default']}`" if value.get("default") else "optional"
        requirement = "required" if field in required else default
        rows.append(f"| `{field}` | {type_text(value)} | {requirement} | {cell(value.get('description', ''))} |")
    return "\n".join(rows)


def _type(name: str, schema: Json) -> str:
    lines = [f"### {name}", " ".join(schema.get("description", "").split())]
    if schema.get("enum"):
        lines.append(type_text(schema))
    elif schema.get("properties"):
        lines.append(fields(schema))
    elif schema.get("prefixItems"):
        lines.append(type_text(schema))
    return "\n\n".join(line for line in lines if line)
