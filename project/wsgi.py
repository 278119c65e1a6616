import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

WORKER_BOOT_ERROR = 3  # gunicorn then ends and does not start its worker again and again

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

try:
    application = get_wsgi_application()

    from detection.keys import check_keys  # needs the applications
    from project import celery_app, web_waits

    check_keys()
    web_waits.limit(celery_app)
except ImproperlyConfigured as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(WORKER_BOOT_ERROR)
