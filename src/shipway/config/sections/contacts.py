"""`contacts`: who is told when something goes wrong, in the order in which they are told."""

from typing import Annotated

from pydantic import Field

from shipway.config.sections.section import Section

Words = Annotated[str, Field(min_length=1, max_length=200)]


class Contact(Section):
    """Somebody who is told."""

    who: Words
    """A person, a team or a rota."""
    how: Words
    """A channel, a number or an address; runbooks print it as it is."""
    when: str = ""
    """When they are told, such as `after 15 minutes` or `personal data left the house`."""
