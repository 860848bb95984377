"""REST as Markdown, from the OpenAPI documents that the services serve."""

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
_NOBODY = cast(Any, None)
"""In place of what answers requests: a page about them asks nothing."""


def gateway() -> FastAPI:
    """The gateway's routes."""
    app = make_app("Order entry", "", Health(), dict)
    gateway_rest.add_routes(app, _NOBODY, _NOBODY, Registration("open", ""))
    return app


def feed() -> FastAPI:
    """The feed's routes."""
    app = make_app("Market data", "", Health(), dict)
    feed_rest.add_routes(app, cast(Any, SimpleNamespace(pool=None)), _NOBODY)
    return app


def document(app: FastAPI) -> Json:
    """The OpenAPI document."""
    made = app.openapi()
    made["info"]["version"] = __version__
    describe(made["components"]["schemas"])
    return made


def page(api: Json, file: str) -> str:
    """Markdown of all operations by tag, and the types that they speak of."""
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
    if asked := operation.get("parameters"):
        rows = ["| parameter | in | type | |", "| --- | --- | --- | --- |"]
        for one in asked:
            must = "" if one.get("required") else "optional. "
            rows.append(
                f"| `{one['name']}` | {one['in']} | {kind(one['schema'])} | {must}{cell(one.get('description', ''))} |"
            )
        lines.append("\n".join(rows))
    if body := operation.get("requestBody"):
        lines.append(f"Body: {_content(body)}")
    answers = []
    for status, answer in sorted(operation["responses"].items()):
        answers.append(f"`{status}` {_content(answer)}".strip())
    lines.append("Answers: " + ", ".join(answers))
    return "\n\n".join(line for line in lines if line)


def _content(of: Json) -> str:
    content = of.get("content", {})
    for media, what in content.items():
        return kind(what.get("schema", {})) if media == "application/json" else f"`{media}`"
    return ""


def kind(schema: Json) -> str:
    """A type in words, with links to those that have a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(kind(one) for one in schema["anyOf"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"] if value is not None)
    if schema.get("type") == "array":
        if "prefixItems" in schema:
            return f"[{', '.join(kind(one) for one in schema['prefixItems'])}]"
        return f"list of {kind(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {kind(schema['additionalProperties'])}"
    found = str(schema.get("type", "any"))
    return f"{found} ({schema['format']})" if schema.get("format") else found


def cell(text: str) -> str:
    """Text on one line of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def fields(schema: Json) -> str:
    """The fields of a type as a table."""
    required = set(schema.get("required", ()))
    rows = ["| field | type | | |", "| --- | --- | --- | --- |"]
    for field, of in schema.get("properties", {}).items():
        must = "required" if field in required else f"`{of['default']}`" if of.get("default") else "optional"
        rows.append(f"| `{field}` | {kind(of)} | {must} | {cell(of.get('description', ''))} |")
    return "\n".join(rows)


def _type(name: str, schema: Json) -> str:
    lines = [f"### {name}", " ".join(schema.get("description", "").split())]
    if schema.get("enum"):
        lines.append(kind(schema))
    elif schema.get("properties"):
        lines.append(fields(schema))
    elif schema.get("prefixItems"):
        lines.append(kind(schema))
    return "\n\n".join(line for line in lines if line)
