"""`manage.py follow`: reads Truetick's change feed from where it was left. For cron, or with --every for ever."""

import time
from typing import Any

import requests
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from crm.models import FeedPlace, Message


class Command(BaseCommand):
    help = "Learn what callbacks did not tell: every status change since the last time."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--every", type=float, metavar="SECONDS", help="Go on for ever, with this pause.")

    def handle(self, *_: Any, every: float | None, **__: Any) -> None:
        while True:
            self.catch_up()
            if every is None:
                return
            time.sleep(every)

    def catch_up(self) -> None:
        place, _ = FeedPlace.objects.get_or_create(id=1)
        while True:
            answer = requests.get(
                f"{settings.TRUETICK_URL}/api/messages/changes",
                params={"after": place.place},
                headers={"Authorization": f"Bearer {settings.TRUETICK_API_KEY}"},
                timeout=10,
            )
            answer.raise_for_status()
            found = answer.json()
            for told in found["messages"]:
                Message.learn(told)
            place.place = found["next"]
            place.save()
            if not found["messages"]:
                return
