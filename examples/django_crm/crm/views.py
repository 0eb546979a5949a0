"""The pages, and the door for Truetick's callbacks."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST
from standardwebhooks import Webhook, WebhookVerificationError

from crm import sending
from crm.models import Customer, Message

callbacks = Webhook(settings.TRUETICK_CALLBACK_SECRET)


@require_GET
def show(request: HttpRequest) -> HttpResponse:
    rows = [(customer, customer.messages.last()) for customer in Customer.objects.order_by("id")]
    return render(request, "customers.html", {"rows": rows})


@require_POST
def greet(_request: HttpRequest, customer_id: int) -> HttpResponse:
    sending.greet(get_object_or_404(Customer, id=customer_id))
    return redirect("show")


@csrf_exempt  # it has a signature instead
@require_POST
def hear(request: HttpRequest) -> HttpResponse:
    """Truetick tells of each status change, at least once and in order. Only a signed callback is believed."""
    try:
        told = callbacks.verify(request.body, dict(request.headers))
    except WebhookVerificationError:
        return HttpResponse("The signature is wrong.", status=400)
    if told["type"] == "message.status":
        Message.learn(told["data"])
    return HttpResponse(status=204)
