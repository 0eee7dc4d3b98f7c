"""Nodes, their Ollama servers and their GPUs."""

from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from labdash.admin.base import (
    BOTH,
    AskForPull,
    HistoryGoesUnlisted,
    TellsRefusals,
    each,
    queue_pulls,
    size_column,
)
from labdash.admin.forms import (
    GpuForm,
    InstanceForm,
    InstanceFormSet,
    PullToForm,
)
from labdash.admin.plan_forms import OwnedGpuForm, OwnedNodeForm, SettledInstanceForm
from labdash.domain import joining, nodes
from labdash.domain.errors import LabDashError
from labdash.models import Gpu, GpuSource, Instance, Node

# Behind every GPU there is, until all are numbered anew.
LAST = 32767
BACK = (
    "{node} was added when LabDash was started on its machine, and the next start adds it again"
    " unless that is deploy/up --no-local-node."
)


class InstanceInline(admin.TabularInline):
    """The Ollama servers of a node."""

    model = Instance
    form = InstanceForm
    formset = InstanceFormSet
    fields = ("name", "url", "version", "inventory_at")
    readonly_fields = ("version", "inventory_at")
    extra = 0
    min_num = 1


class GpuInline(admin.TabularInline):
    """The GPUs of a node: declared for an agentless one, seen on any other."""

    model = Gpu
    form = GpuForm
    fields = ("name", "memory_total_bytes", "unified")
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Node | None = None) -> bool:
        """Only what nobody measures is declared."""
        return (obj is None or obj.agentless) and super().has_add_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Node | None = None) -> bool:
        """As for adding."""
        return (obj is None or obj.agentless) and super().has_change_permission(request, obj)


@admin.register(Node)
class NodeAdmin(AskForPull, TellsRefusals, HistoryGoesUnlisted):
    """Nodes, with their servers and GPUs."""

    form = OwnedNodeForm
    inlines = (InstanceInline, GpuInline)
    list_display = ("slug", "kind", "agentless", "paused", "last_seen_at", "gpu_count", "version")
    list_filter = ("agentless", "paused", "kind")
    search_fields = ("slug", "instances__url", "gpus__name")
    ordering = ("slug",)
    actions = ("pull_to_nodes", "refresh_inventory", "pause", "resume")
    readonly_fields = (
        "created_at",
        "last_seen_at",
        "worker_version",
        "clock_offset_s",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        """Count the GPUs with the list."""
        rows: QuerySet[Node] = super().get_queryset(request)
        return rows.annotate(gpus_counted=Count("gpus", distinct=True))

    def get_readonly_fields(self, request: HttpRequest, obj: Node | None = None) -> Any:
        """A node's name is in its keys, and who serves it is settled when it is added."""
        fixed = () if obj is None else ("slug", "agentless")
        return (*self.readonly_fields, *fixed)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """A node that is added by hand is agentless: the others add themselves."""
        return {"agentless": True, **super().get_changeform_initial_data(request)}

    @admin.display(description="GPUs", ordering="gpus_counted")
    def gpu_count(self, node: Node) -> int | str:
        """Count the GPUs, once the node has told them or they are declared."""
        is_known = node.agentless or node.last_seen_at
        return int(getattr(node, "gpus_counted", 0)) if is_known else "unknown"

    @admin.display(description="worker", ordering="worker_version")
    def version(self, node: Node) -> str:
        """Name the worker's version."""
        return node.worker_version or "unknown"

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Declare GPUs behind those there are; forget servers through the domain."""
        rows = formset.save(commit=False)
        for row in formset.deleted_objects:
            if isinstance(row, Instance):
                nodes.remove_instance(instance=row)
            else:
                row.delete()
        for row in rows:
            if isinstance(row, Gpu) and row.pk is None:
                row.source = GpuSource.DECLARED
                row.index = LAST
            row.save()

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Let the workers know once all is stored."""
        super().save_related(request, form, formsets, change)
        nodes.number_gpus(node=form.instance)

    def response_add(
        self, request: HttpRequest, obj: Node, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show at once the line that makes a machine the node that was added."""
        if obj.agentless or "_continue" in request.POST or "_addanother" in request.POST:
            return super().response_add(request, obj, post_url_continue)
        try:
            joining.leave_token(request.session, node=obj)
        except LabDashError as error:
            messages.error(request, str(error))
        return redirect("node_join", obj.slug)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Say on the pages that ask which of the nodes come back."""
        if "post" not in request.POST:
            for node in objs:
                if node.started_with:
                    messages.warning(request, BACK.format(node=node))
        return super().get_deleted_objects(objs, request)

    def delete_model(self, request: HttpRequest, obj: Node) -> None:
        """Forget the node through the domain, which also stops what runs there."""
        nodes.remove_node(node=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Node]) -> None:
        """Forget each, as above, or none."""
        with transaction.atomic():
            for node in queryset:
                nodes.remove_node(node=node)

    @admin.action(description="Pull a model to nodes", permissions=["change"])
    def pull_to_nodes(self, request: HttpRequest, queryset: QuerySet[Node]) -> HttpResponse | None:
        """Ask for a name, then pull it to every instance of the chosen nodes."""
        form, page = self.ask(request, queryset, PullToForm, "Pull a model to nodes")
        if form is None:
            return page
        instances = Instance.objects.filter(node__in=list(queryset)).select_related("node")
        queue_pulls(request, instances, form.cleaned_data["model"])
        return None

    @admin.action(description="Refresh inventory", permissions=["change"], location=BOTH)
    def refresh_inventory(self, request: HttpRequest, queryset: QuerySet[Node]) -> None:
        """Ask the nodes to report all that is installed."""
        each(request, queryset, lambda node: nodes.refresh_inventory(node=node), "Asked to report")

    @admin.action(description="Pause nodes", permissions=["change"], location=BOTH)
    def pause(self, request: HttpRequest, queryset: QuerySet[Node]) -> None:
        """Start no new work on them."""
        each(request, queryset, lambda node: nodes.pause_node(node=node), "Paused")

    @admin.action(description="Resume nodes", permissions=["change"], location=BOTH)
    def resume(self, request: HttpRequest, queryset: QuerySet[Node]) -> None:
        """Let them begin new work."""
        each(request, queryset, lambda node: nodes.resume_node(node=node), "Resumed")


@admin.register(Gpu)
class GpuAdmin(HistoryGoesUnlisted):
    """GPUs of all nodes, with what the plan leaves of them to their owners."""

    form = OwnedGpuForm
    list_display = (
        "name",
        "node",
        "index",
        size_column("memory_total_bytes", "memory"),
        "unified",
        "source",
        size_column("reserve_bytes", "kept for its owner"),
        "given_back",
        "game_on",
        "last_seen_at",
    )
    list_filter = ("source", "unified", "given_back", "game_on", "node")
    list_select_related = ("node",)
    search_fields = ("name", "uuid", "pci_id", "node__slug")
    readonly_fields = ("node", "uuid", "index", "pci_id", "source", "game_on", "last_seen_at")

    def has_add_permission(self, _request: HttpRequest) -> bool:
        """A GPU is declared with its node, or seen there."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Gpu | None = None) -> Any:
        """What is measured is not to be typed."""
        measured = ("name", "memory_total_bytes", "unified")
        declared = obj is None or obj.source == GpuSource.DECLARED
        return self.readonly_fields if declared else (*self.readonly_fields, *measured)

    def save_model(self, request: HttpRequest, obj: Gpu, form: Any, change: bool) -> None:
        """Let the worker of a declared GPU know."""
        super().save_model(request, obj, form, change)
        nodes.publish_on_commit()

    def delete_model(self, request: HttpRequest, obj: Gpu) -> None:
        """Close the gap that it leaves."""
        super().delete_model(request, obj)
        nodes.number_gpus(node=obj.node)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Gpu]) -> None:
        """Close the gaps that they leave."""
        owners = list(Node.objects.filter(gpus__in=queryset).distinct())
        super().delete_queryset(request, queryset)
        for node in owners:
            nodes.number_gpus(node=node)


@admin.register(Instance)
class InstanceAdmin(AskForPull, TellsRefusals):
    """Ollama servers of all nodes."""

    form = SettledInstanceForm
    list_display = ("name", "node", "url", "version", "models", "inventory_at")
    list_filter = ("version", "node")
    list_select_related = ("node",)
    search_fields = ("name", "url", "node__slug")
    ordering = ("node__slug", "name")
    autocomplete_fields = ("node",)
    readonly_fields = ("version", "inventory_at")
    actions = ("pull_to_instances",)

    def get_readonly_fields(self, request: HttpRequest, obj: Instance | None = None) -> Any:
        """What is known of a server is known of it on its node."""
        return self.readonly_fields if obj is None else (*self.readonly_fields, "node")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Instance]:
        """Count the installed names with the list."""
        rows: QuerySet[Instance] = super().get_queryset(request)
        return rows.annotate(models_counted=Count("installed_models"))

    @admin.display(description="models", ordering="models_counted")
    def models(self, instance: Instance) -> int | str:
        """Count the installed names, once they were listed."""
        is_known = instance.inventory_at
        return int(getattr(instance, "models_counted", 0)) if is_known else "unknown"

    def save_model(self, request: HttpRequest, obj: Instance, form: Any, change: bool) -> None:
        """Let the worker know."""
        super().save_model(request, obj, form, change)
        nodes.publish_on_commit()

    def delete_model(self, request: HttpRequest, obj: Instance) -> None:
        """Forget it through the domain, which also stops what runs there."""
        nodes.remove_instance(instance=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Instance]) -> None:
        """Forget each, as above, or none."""
        with transaction.atomic():
            for instance in queryset.select_related("node"):
                nodes.remove_instance(instance=instance)

    @admin.action(description="Pull a model to instances", permissions=["change"])
    def pull_to_instances(
        self, request: HttpRequest, queryset: QuerySet[Instance]
    ) -> HttpResponse | None:
        """Ask for a name, then pull it to the chosen instances."""
        form, page = self.ask(request, queryset, PullToForm, "Pull a model to instances")
        if form is None:
            return page
        queue_pulls(request, queryset.select_related("node"), form.cleaned_data["model"])
        return None
