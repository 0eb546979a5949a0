"""The contacts of the demonstration, spelled the way CRMs hold them. All numbers are made up."""

import csv
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from uuid import UUID, uuid4


@dataclass(frozen=True)
class Contact:
    """A row of `contacts.csv`. `outcome` is what should become of it: arrives, invalid or not_on_whatsapp."""

    ref: str
    name: str
    phone: str
    outcome: str

    @property
    def text(self) -> str:
        return f"Hello {self.name}, your order {self.ref} is ready."

    @property
    def should_arrive(self) -> bool:
        return self.outcome == "arrives"

    @cached_property
    def message_id(self) -> UUID:
        """Chosen by the CRM, so that it can ask for the status later."""
        return uuid4()


def read_contacts() -> list[Contact]:
    """All rows, the repeated one too."""
    text = files("worker.demo").joinpath("contacts.csv").read_text(encoding="utf-8")
    return [Contact(**row) for row in csv.DictReader(text.splitlines())]


def unique(contacts: list[Contact]) -> dict[str, Contact]:
    """By reference, in order; a row that comes again is the same contact."""
    found: dict[str, Contact] = {}
    for contact in contacts:
        found.setdefault(contact.ref, contact)
    return found
