"""The documentation's build: `sphinx-build -n -W docs docs/_build`. It needs no network."""

import os
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
sys.path.insert(0, str(Path(__file__).parents[1]))
from source import REPOSITORY, linkcode_resolve  # noqa: F401  # called by sphinx.ext.linkcode

from stale_retry import __version__  # the source next to this folder, whatever is installed

SITE = "https://stale-retry.readthedocs.io/en/latest/"

project = "stale-retry"
author = "the stale-retry developers"
version = release = __version__

extensions = [
    "myst_parser",
    "notfound.extension",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.linkcode",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinxext.opengraph",
    "llms",
    "signatures",
]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

html_theme = "furo"
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", SITE)
html_show_copyright = False
html_title = f"stale-retry {release}"
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_js_files = ["phone.js"]
html_theme_options = {
    "source_repository": REPOSITORY,
    "source_branch": "main",
    "source_directory": "docs/",
    "top_of_page_buttons": ["view", "edit"],
    "light_css_variables": {"color-brand-primary": "#00557f", "color-brand-content": "#0069a8"},
    "dark_css_variables": {"color-brand-primary": "#8cc8ee", "color-brand-content": "#62b6f0"},
}

ogp_site_url = html_baseurl
ogp_site_name = "stale-retry"
ogp_image = "_static/card.png"
ogp_image_alt = "stale-retry: retry appends that lost a race, on the reloaded session"
ogp_use_first_image = False
ogp_social_cards = {"enable": False}  # one card for all pages, in _static
ogp_custom_meta_tags = ['<meta name="twitter:card" content="summary_large_image">']

copybutton_exclude = ".linenos, .gp, .go"  # prompts and output are not copied
notfound_context = {
    "title": "Page not found",
    "body": "<h1>Page not found</h1><p>Search for it on the left, or start from the "
    f'<a href="{SITE}">first page</a>. If a link led you here, please <a href="{REPOSITORY}/issues">tell us</a>.</p>',
}

python_use_unqualified_type_names = True
maximum_signature_line_length = 80
default_role = "code"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Other projects' names. Each inventory holds the few that our signatures use, so that a build needs no network and is
# the same everywhere; a name that is missing there fails the build.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", "inventories/python.inv"),
    "tenacity": ("https://tenacity.readthedocs.io/en/latest", "inventories/tenacity.inv"),
}
nitpicky = True
nitpick_ignore_regex = [
    # Projects whose pages have no address for each name.
    (r"py:.*", r"(google|opentelemetry|prometheus_client)\..*"),
    (r"py:.*", r"AlreadyExistsError|AsyncEngine|BaseSessionService|FastAPI|Redis|timedelta|dict\[str"),
    # What a signature shows and nobody has to know: type variables, protocols of clients, what a function returns.
    (r"py:.*", r"stale_retry\.(.*\.)?(_.*|[A-Z]|SQLAlchemyEngine|AsyncpgPool|PsycopgPool|RedisClient)"),
    (r"py:.*", r"EndReason|F|Interleaving|Options|OptionsButRefresh|RefreshMode|StateConflicts|TransactionOptions"),
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
