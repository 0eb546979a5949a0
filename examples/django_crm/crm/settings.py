"""Settings of a small CRM for one machine. Not for the internet: it has no log-in."""

import os

SECRET_KEY = os.environ.get("CRM_SECRET_KEY", "only for trying out")
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "crm.urls"
INSTALLED_APPS = ["crm"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("CRM_DATABASE", "crm.db"),
        "OPTIONS": {"timeout": 10},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

#: Where Truetick is: the broker to send, the HTTP API to catch up.
TRUETICK_BROKER_URL = os.environ["CELERY_BROKER_URL"]
TRUETICK_URL = os.environ.get("TRUETICK_URL", "http://127.0.0.1:5000")
TRUETICK_API_KEY = os.environ.get("TRUETICK_API_KEY", "")
TRUETICK_CALLBACK_SECRET = os.environ["TRUETICK_CALLBACK_SECRET"]
