"""What somebody does with the guide: nothing but closing its tour."""

from django.contrib.auth.models import User

from labdash.models import TourClosed


def close_tour(*, user: User) -> None:
    """Offer the tour no more to ``user``."""
    TourClosed.objects.get_or_create(user=user)
