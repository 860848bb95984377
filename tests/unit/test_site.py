"""Tests of the site: it is built from pages and code without a warning, and loads only local files."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from reference import settings, websockets

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site. Return its folder."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


@pytest.mark.slow
def test_every_page_is_part_of_the_site(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    missing = {page for page in pages if not (site / page).exists()}
    assert not missing


@pytest.mark.slow
def test_the_pages_load_only_local_files(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        loaded = re.findall(r'<(?:script|img|iframe)[^>]+src="([^"]+)"|<link[^>]+rel="stylesheet"[^>]+href="([^"]+)"', text)
        assert not [address for pair in loaded for address in pair if "://" in address], page


@pytest.mark.slow
def test_the_site_has_the_api_documents_of_both_services(site: Path) -> None:
    for name, paths in (("gateway", "/orders"), ("feed", "/book/{security_id}")):
        document = json.loads((site / "reference" / f"{name}-openapi.json").read_text())
        assert paths in document["paths"]
        messages = json.loads((site / "reference" / f"{name}-asyncapi.json").read_text())
        assert messages["asyncapi"].startswith("3.")


@pytest.mark.parametrize("title", list(websockets.CHANNELS))
def test_every_reference_in_an_asyncapi_document_has_a_target(title: str) -> None:
    document = websockets.document(title)
    for target in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
        found = document
        for step in target.split("/"):
            found = found[step]
        assert found


def test_the_table_of_settings_equals_the_settings_classes() -> None:
    page = ROOT / "docs" / "running.md"
    wanted = settings.in_page(page.read_text())
    if os.environ.get("MX_DOCS") == "write":
        page.write_text(wanted)
    assert page.read_text() == wanted, "MX_DOCS=write ./mx test tests/unit/test_site.py writes it again"


def test_the_image_has_a_label_with_the_version() -> None:
    from microexchange import __version__

    assert f'org.opencontainers.image.version="{__version__}"' in (ROOT / "Dockerfile").read_text()
