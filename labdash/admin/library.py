"""Families, variants, and what is installed where."""

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse

from labdash.admin.base import AskForPull, StaysAsSeen, queue_pulls, size_column
from labdash.admin.forms import PullModelsForm
from labdash.models import Family, InstalledModel, Variant


@admin.register(Family)
class FamilyAdmin(StaysAsSeen):
    """Models at one size, whatever their quant."""

    list_display = ("name", "architecture", "parameter_count", "context_length", "variant_count")
    list_filter = ("architecture",)
    search_fields = ("name", "architecture")
    ordering = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Family]:
        """Count the variants with the list."""
        rows: QuerySet[Family] = super().get_queryset(request)
        return rows.annotate(variants_counted=Count("variants"))

    @admin.display(description="variants", ordering="variants_counted")
    def variant_count(self, family: Family) -> int:
        """Count the variants."""
        return int(getattr(family, "variants_counted", 0))


@admin.register(Variant)
class VariantAdmin(StaysAsSeen):
    """Files of weights."""

    list_display = ("family", "quant", "format", size_column("size_bytes", "size"), "copies")
    list_display_links = ("family", "quant")
    list_filter = ("quant", "format")
    list_select_related = ("family",)
    search_fields = ("family__name", "quant", "blob_digest")
    ordering = ("family__name", "size_bytes")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Variant]:
        """Count the names of it with the list."""
        rows: QuerySet[Variant] = super().get_queryset(request)
        return rows.annotate(copies_counted=Count("installed_models"))

    @admin.display(description="installed as", ordering="copies_counted")
    def copies(self, variant: Variant) -> int:
        """Count the names under which it is installed."""
        return int(getattr(variant, "copies_counted", 0))


@admin.register(InstalledModel)
class InstalledModelAdmin(AskForPull, StaysAsSeen):
    """What is installed where."""

    list_display = ("name", "instance", size_column("size_bytes", "size"), "variant", "is_cloud")
    list_filter = ("is_cloud", "instance__node", "variant__quant")
    list_select_related = ("instance__node", "variant__family")
    search_fields = ("name", "digest", "instance__node__slug", "variant__family__name")
    actions = ("pull_to_nodes",)

    @admin.action(description="Pull these models to nodes", permissions=["view"])
    def pull_to_nodes(
        self, request: HttpRequest, queryset: QuerySet[InstalledModel]
    ) -> HttpResponse | None:
        """Ask where to, then pull each of the chosen names there."""
        form, page = self.ask(request, queryset, PullModelsForm, "Pull these models to nodes")
        if form is None:
            return page
        for name in sorted(set(queryset.values_list("name", flat=True))):
            queue_pulls(request, form.cleaned_data["instances"], name)
        return None
