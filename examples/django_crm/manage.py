"""`python manage.py start` makes the tables, adds a few customers and serves the CRM."""

import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "crm.settings")

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
