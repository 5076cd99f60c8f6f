"""Pages of the house: one base template with its style, no script, no outside request; what came from data is escaped.

`page.html.j2` has the head, the style and a block "main"; a package's own template begins with `{% extends "page.html.j2" %}`.
`parts.html.j2` has macros: shaded cells of tables, numbers.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

OWN = ("page.html.j2", "parts.html.j2")


def render(package: str, template: str, **context: Any) -> str:
    """Return the HTML of a package's template.

    Parameters
    ----------
    package : str
        The one that holds the template: "mumei.vae".
    template : str
        The file's name there.
    context
        What it shows; "name" is the page's title.
    """
    import jinja2

    def load(name: str) -> str:
        return resources.files("mumei.core" if name in OWN else package).joinpath(name).read_text("utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda n: f"{n:,}"
    return environment.get_template(template).render(**context)


def markup(svg: str) -> Any:
    """Return a picture of `charts`, which escapes its texts, as what a template does not escape again."""
    import markupsafe

    return markupsafe.Markup(svg)  # noqa: S704 (numbers, and text that `charts` escaped)
