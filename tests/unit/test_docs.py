"""Documentation is kept true: generated pages are fresh, links lead somewhere, the two languages are in step."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1\s*$", re.M | re.S)
HEADING = re.compile(r"^(#{1,6}) +(.*)$", re.M)


def generated() -> dict[str, Callable[[], str]]:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pages: dict[str, Callable[[], str]] = module.PAGES
    return pages


@pytest.mark.parametrize("page", sorted(generated()))
def test_a_page_that_is_made_from_the_code_is_fresh(page: str) -> None:
    assert (DOCS / "reference" / page).read_text() == generated()[page](), "run: PYTHONPATH=. python docs/generate.py"


def anchors(page: Path) -> set[str]:
    """Headings as the site's and the forge's anchors."""
    text = FENCE.sub("", page.read_text())
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for _, title in HEADING.findall(text)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def test_every_page_is_in_the_navigation() -> None:
    text = re.sub(r"!!python/name:\S+", "x", (ROOT / "mkdocs.yml").read_text())
    listed: set[str] = set()

    def walk(item: object) -> None:
        if isinstance(item, str):
            listed.add(item)
        elif isinstance(item, dict):
            for value in item.values():
                walk(value)
        elif isinstance(item, list):
            for value in item:
                walk(value)

    walk(yaml.safe_load(text)["nav"])
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert pages == listed


PAIRS = [(ROOT / "README.md", ROOT / "README.zh-CN.md")] + [
    (DOCS / "how-to" / page.name, page) for page in sorted((DOCS / "zh" / "how-to").glob("*.md"))
]


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=lambda page: page.name)
def test_the_languages_are_in_step(english: Path, chinese: Path) -> None:
    """The same headings, by their levels, and the same code blocks, letter for letter but for comments."""
    ours, theirs = english.read_text(), chinese.read_text()
    levels = [[len(marks) for marks, _ in HEADING.findall(FENCE.sub("", text))] for text in (ours, theirs)]
    assert levels[0] == levels[1]
    blocks = [[uncommented(block.group()) for block in FENCE.finditer(text)] for text in (ours, theirs)]
    assert blocks[0] == blocks[1]
    assert re.search(r"[\u4e00-\u9fff]", theirs)


def uncommented(block: str) -> str:
    """A code block without its comments, which are translated."""
    return "\n".join(line for line in (re.sub(r"\s*#.*$", "", line) for line in block.splitlines()) if line)


def test_every_how_to_has_its_chinese() -> None:
    assert {page.name for page in (DOCS / "how-to").glob("*.md")} == {
        p.name for p in (DOCS / "zh" / "how-to").glob("*.md")
    }
