"""The CRM's own tables: customers, and the messages that were sent to them."""

import uuid

from django.db import models


class Customer(models.Model):
    name = models.CharField(max_length=80)
    phone = models.CharField(max_length=40)


class Message(models.Model):
    """What the CRM knows of one message. `last_change` numbers the status change that it has learnt last."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="messages")
    status = models.CharField(max_length=20, default="pending")
    problem = models.CharField(max_length=500, default="")
    last_change = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("created_at",)

    @classmethod
    def learn(cls, told: dict) -> None:
        """Use a status change, told by a callback or read from the feed; one that is known or old changes nothing."""
        change, error = told["change"], told["error"] or {}
        cls.objects.filter(id=told["id"], last_change__lt=change["seq"]).update(
            status=change["status"], problem=error.get("message", ""), last_change=change["seq"]
        )


class FeedPlace(models.Model):
    """How far the change feed has been read; one row."""

    place = models.BigIntegerField(default=0)
