"""`manage.py start`: everything at once, to try it out."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser

from crm.models import Customer

PEOPLE = [("Asha Rao", "70330 00001"), ("Ravi Kumar", "+91 70330-00002"), ("Zoë Miller", "+44 7400 123456")]


class Command(BaseCommand):
    help = "Make the tables, add a few customers, and serve."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000)

    def handle(self, *_: Any, port: int, **__: Any) -> None:
        call_command("migrate", run_syncdb=True, verbosity=0)
        if not Customer.objects.exists():
            Customer.objects.bulk_create(Customer(name=name, phone=phone) for name, phone in PEOPLE)
        call_command("runserver", f"127.0.0.1:{port}", use_reloader=False)
