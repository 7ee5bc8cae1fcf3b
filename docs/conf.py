"""How the pages are built: sphinx-build -W -b html docs docs/_build."""

from importlib import metadata

project = "vjax"
author = "the vjax authors"
version = release = metadata.version("vjax")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "launch"]
html_theme = "furo"
html_title = "vjax"
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say shapes, units and ranges
autodoc_class_signature = "separated"
napoleon_use_rtype = False
napoleon_attr_annotations = False
napoleon_use_ivar = True  # else fields of dataclasses are described twice
