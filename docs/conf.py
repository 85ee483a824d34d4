"""The documentation's build: `sphinx-build -n -W docs docs/_build`."""

import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parents[1]))
from stale_retry import __version__  # of this very source, wherever it is built

project = "stale-retry"
author = "the stale-retry developers"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

html_theme = "furo"
html_show_copyright = False
html_title = f"stale-retry {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_js_files = ["tables.js"]
html_extra_path = ["llms.txt"]
html_theme_options = {
    "top_of_page_buttons": [],
    "light_css_variables": {"color-brand-primary": "#00557f", "color-brand-content": "#0069a8"},
    "dark_css_variables": {"color-brand-primary": "#8cc8ee", "color-brand-content": "#62b6f0"},
}

python_use_unqualified_type_names = True
maximum_signature_line_length = 140
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

nitpicky = True
nitpick_ignore_regex = [
    # Other projects' names: to link them, the build would need their sites.
    (r"py:.*", r"(collections|contextlib|datetime|google|opentelemetry|prometheus_client|tenacity)\..*"),
    (r"py:.*", r"AsyncEngine|BaseSessionService|FastAPI|Redis|timedelta|dict\[str"),
    # What a signature shows and nobody has to know: type variables, protocols of clients, what a function returns.
    (r"py:.*", r"stale_retry\.(.*\.)?(_.*|[A-Z]|LocalGate|SQLAlchemyEngine|AsyncpgPool|PsycopgPool|RedisClient)"),
    (r"py:.*", r"F|Interleaving|Options|OptionsButRefresh|RefreshMode|StateConflicts|TransactionOptions"),
]


class Picture(SphinxDirective):
    """One of `docs/_static/pictures`, light on a light page and dark on a dark one; the content says what is on it."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        return [
            nodes.image(
                uri=f"/_static/pictures/{self.arguments[0]}-{theme}.svg",
                alt=" ".join(self.content),
                classes=["picture", f"only-{theme}"],
            )
            for theme in ("light", "dark")
        ]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_directive("picture", Picture)
