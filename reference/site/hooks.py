"""Hooks of mkdocs. They add the pages made from the code, and the files of the repository that pages link to."""

import json
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from reference import rest, websockets

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#\s]+)\)")
REPOSITORY = "repository"
"""The folder of the site for the files that pages link to."""


def generated() -> dict[str, str]:
    """Return the content of all generated files by their path in the site."""
    gateway, feed = rest.document(rest.gateway()), rest.document(rest.feed())
    return {
        "reference/gateway-rest.md": rest.page(gateway, "gateway-openapi.json"),
        "reference/gateway-openapi.json": json.dumps(gateway, indent=1),
        "reference/feed-rest.md": rest.page(feed, "feed-openapi.json"),
        "reference/feed-openapi.json": json.dumps(feed, indent=1),
        "reference/gateway-websockets.md": websockets.page("Order entry", "gateway-asyncapi.json"),
        "reference/gateway-asyncapi.json": json.dumps(websockets.document("Order entry"), indent=1),
        "reference/feed-websockets.md": websockets.page("Market data", "feed-asyncapi.json"),
        "reference/feed-asyncapi.json": json.dumps(websockets.document("Market data"), indent=1),
    }


def outside(page: Path, docs: Path, target: str) -> Path | None:
    """Return the path in the repository of the file that a link of a page leads to.

    Returns None if the file is outside of the repository or in the folder of the pages.
    """
    path = (page.parent / target).resolve()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) and not path.is_relative_to(docs) else None


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated files and the linked files of the repository to the site."""
    docs = Path(config.docs_dir)
    for place, content in generated().items():
        files.append(File.generated(config, place, content=content))
    linked = set()
    for page in docs.rglob("*.md"):
        for _, target in LINK.findall(page.read_text()):
            file = outside(page, docs, target)
            if file is not None and (ROOT / file).is_file():
                linked.add(file)
    for file in linked:
        # mkdocs makes a page of Markdown. The suffix .txt prevents that.
        files.append(File.generated(config, f"{REPOSITORY}/{file}.txt", content=(ROOT / file).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, **_: Any) -> str:
    """Change links out of the pages to the copies in the site. A link to a folder becomes plain text."""
    docs = Path(config.docs_dir)
    here = docs / page.file.src_path

    def site_link(match: re.Match[str]) -> str:
        file = outside(here, docs, match[2])
        if file is None:
            return match[0]
        if not (ROOT / file).is_file():
            return match[1]
        return f"[{match[1]}]({os.path.relpath(docs / REPOSITORY / f'{file}.txt', here.parent)})"

    return LINK.sub(site_link, markdown)
