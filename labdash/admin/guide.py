"""Who closed the guide's tour; deleting a row offers it again."""

from django.contrib import admin

from labdash.models import TourClosed


@admin.register(TourClosed)
class TourClosedAdmin(admin.ModelAdmin):
    """One row for each user who closed it."""

    list_display = ("user", "closed_at")
    list_select_related = ("user",)
    search_fields = ("user__username",)
    readonly_fields = ("closed_at",)
