"""Jinja templates for pages and boards: every value is escaped by `evalkit.reports.markup`, whatever a template says.

Templates are files in the folder `templates` of a package. In an attribute a value needs the filter `attr`: a hidden
character is shown by an element, which an attribute cannot hold.
"""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from evalkit.reports.markup import attribute, escaped


def rendered(package: str, template: str, **values: Any) -> str:
    """A template of a package with its values; a name that the template uses and nobody gave is an error."""
    return _environment(package).get_template(template).render(values)


def markup(html: str) -> Markup:
    """HTML that our own functions made, to be printed as it is."""
    return Markup(html)


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["attr"] = lambda value: Markup(attribute(value))
    return environment


def _shown(value: Any) -> Any:
    """What a template prints: our own markup as it is, everything else escaped, None as nothing."""
    if value is None:
        return ""
    return value if isinstance(value, Markup) else Markup(escaped(value))
