"""Sphinx configuration."""

from importlib.metadata import version as installed_version

project = "parivp"
author = "parivp developers"
copyright = "2026, parivp developers"
version = release = installed_version("parivp")

extensions = [
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "matplotlib.sphinxext.plot_directive",
]
exclude_patterns = ["_build", "generated"]
default_role = "py:obj"

html_theme = "pydata_sphinx_theme"
html_title = "parivp"
html_show_sourcelink = False
html_theme_options = {"navbar_end": ["theme-switcher"], "show_prev_next": False}
html_sidebars = {"**": []}

# Members are listed where a class documents them; those inherited from SciPy
# are documented there.
numpydoc_show_class_members = False
# All checks but: extended summary, examples and "See Also" in every docstring, and
# the rule against naming a single return value.
numpydoc_validation_checks = {"all", "ES01", "EX01", "SA01", "RT02"}

plot_html_show_formats = False
plot_html_show_source_link = False
plot_formats = [("png", 120)]
plot_rcparams = {"figure.figsize": (6.4, 3.2), "figure.constrained_layout.use": True}
plot_apply_rcparams = True
