"""Settings of the hub: every choice of a deployment comes from the environment."""

from pathlib import Path

from django.utils.csp import CSP

from labdash.env import (
    BadSetting,
    check_store_url,
    data_dir,
    database_from_url,
    env_bool,
    env_list,
    env_networks,
    env_port,
    env_str,
    env_web_url,
    given_secret_key,
    own_store_url,
    time_zone,
)

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = "0.1.0"

# --- where a hub keeps what it knows ----------------------------------------------------------

DEMO = env_bool("LABDASH_DEMO", default=False)
DATA_DIR = data_dir(demo=DEMO)
# What the simulated registry offers; the real ones offer more than a list can hold.
OFFERS = BASE_DIR / "workers" / "simlab" / "data" / "offers.json" if DEMO else None


def secret_key() -> str:
    """Return the key from the environment, or the one that the first start wrote down."""
    if key := given_secret_key():
        return key
    path = DATA_DIR / "secret-key"
    try:
        return path.read_text().strip() if path.is_file() else "not-yet-prepared-" + "x" * 32
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}") from error


SECRET_KEY = secret_key()
# Never from the environment: pages with tracebacks would show secrets to the whole network.
DEBUG = False
DATABASES = {"default": database_from_url(env_str("DATABASE_URL"), DATA_DIR / "labdash.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The store's address for redis-py: redis://…, rediss://… or unix:///path.sock?db=0
REDIS_URL = check_store_url(env_str("REDIS_URL") or own_store_url(DATA_DIR))

# The only address that this hub listens on; None means all of its machine's.
LABDASH_HOST = env_str("LABDASH_HOST")
# The ports of the door for other machines; None where something else than deploy/up runs this hub.
LABDASH_TLS_PORT = env_port("LABDASH_TLS_PORT")
LABDASH_STORE_PORT = env_port("LABDASH_STORE_PORT")

# Where it is asked what Ollama's library offers; None means Ollama's own registry.
REGISTRY_URL = env_web_url("LABDASH_REGISTRY_URL")

# --- web --------------------------------------------------------------------------------------

# labdash.middleware.host_guard judges the Host header: Django's own list knows no address ranges.
ALLOWED_HOSTS = ["*"]
LABDASH_ALLOWED_HOSTS = env_list("LABDASH_ALLOWED_HOSTS")
# Whose X-Forwarded-For and X-Forwarded-Proto are believed.
LABDASH_PROXIES = env_networks("LABDASH_PROXIES")
ROOT_URLCONF = "labdash.urls"
WSGI_APPLICATION = "labdash.wsgi.application"

INSTALLED_APPS = [
    "labdash.apps.LabDashConfig",
    # Its pages are found by the site map: commands, workers and the scheduler start without them.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
]

MIDDLEWARE = [
    "labdash.proxies.believe_proxies",
    "labdash.middleware.host_guard",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    # Pages that poll; Django pads the answers by chance, so that their size tells no secret.
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "labdash.middleware.htmx",
    "labdash.middleware.DatabaseErrors",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.csp",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "labdash.views.context.shell",
            ],
        },
    }
]

# Of files that are sent only the header is read, and nothing is written to disk.
FILE_UPLOAD_HANDLERS = ["labdash.views.uploads.HeaderHandler"]

# --- security ---------------------------------------------------------------------------------

LOGIN_URL = "sign_in"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "sign_in"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
SESSION_COOKIE_NAME = "labdash_session"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SECURE_CSP = {
    "default-src": [CSP.SELF],
    "script-src": [CSP.SELF, CSP.NONCE],
    "style-src": [CSP.SELF],
    "img-src": [CSP.SELF, "data:"],
    "object-src": [CSP.NONE],
    "base-uri": [CSP.NONE],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
}

# --- files, language, logs --------------------------------------------------------------------

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
USE_TZ = True
TIME_ZONE = time_zone() or "UTC"
LANGUAGE_CODE = "en-us"
USE_I18N = False

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    # It writes a line for each request to a registry.
    "loggers": {"httpx": {"level": "WARNING"}},
}
