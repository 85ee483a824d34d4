"""What every page of recipes has in common, told without a server."""

import ast
import re

import pytest

from .recipes import PAGES, programs

RECIPES = sorted(page.name for page in PAGES.glob("*.md") if page.name != "index.md")
EXCERPT = re.compile(r"^```py\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EACH_PAGE = pytest.mark.parametrize("page", RECIPES)


def functions(source):
    return {node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.AsyncFunctionDef)}


@EACH_PAGE
def test_a_page_begins_with_a_few_lines_of_its_program(page):
    text = (PAGES / page).read_text()
    assert re.match(r"# .+\n\n```py\n", text)
    excerpt = EXCERPT.search(text)[1]
    assert len(excerpt.splitlines()) <= 6
    program = functions(programs(page)[0])
    for name, function in functions(excerpt).items():
        assert [ast.dump(each) for each in function.decorator_list] == [
            ast.dump(each) for each in program[name].decorator_list
        ]
        assert ast.dump(function.args) == ast.dump(program[name].args)


@EACH_PAGE
def test_a_page_tells_what_to_know(page):
    assert "\n## What to know\n" in (PAGES / page).read_text()


@EACH_PAGE
def test_code_is_not_wider_than_a_page(page):
    for block in [*programs(page), *EXCERPT.findall((PAGES / page).read_text())]:
        assert max(map(len, block.splitlines())) <= 88


def test_every_page_is_in_the_table_of_contents():
    index = (PAGES / "index.md").read_text()
    assert all(f"\n{page.removesuffix('.md')}\n" in index for page in RECIPES)
