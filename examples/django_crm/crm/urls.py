"""Where everything is."""

from django.urls import path

from crm import views

urlpatterns = [
    path("", views.show, name="show"),
    path("customers/<int:customer_id>/greet", views.greet, name="greet"),
    path("truetick/callbacks", views.hear, name="hear"),
]
