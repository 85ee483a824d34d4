"""The documentation's build: `sphinx-build -W docs docs/_build`."""

from importlib.metadata import version as installed_version

project = "stale-retry"
author = "the stale-retry developers"
version = release = installed_version("stale-retry")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

html_theme = "furo"
html_title = f"stale-retry {release}"

python_use_unqualified_type_names = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
