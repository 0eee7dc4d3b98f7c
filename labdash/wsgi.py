"""Where a web server enters."""

import os

from django.core.wsgi import get_wsgi_application

from labdash.checks import refuse_unprepared

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labdash.settings")
refuse_unprepared()
application = get_wsgi_application()
