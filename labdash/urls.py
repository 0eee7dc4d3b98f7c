"""The site map."""

from django.contrib import admin
from django.urls import include, path, re_path

from labdash.views import (
    access,
    addresses,
    finding,
    fit,
    health,
    join,
    joining,
    loads,
    models,
    nodes,
    overview,
    planner,
    planner_apply,
    planner_export,
    planner_gpus,
    planner_predictions,
    planner_wants,
    planner_what_if,
    pulls,
    pulls_new,
    pulls_schedules,
    trying,
)

admin.autodiscover()

node_urls = [
    path("", nodes.nodes, name="nodes"),
    path("<slug:slug>/", nodes.node_detail, name="node_detail"),
    path("<slug:slug>/join/", joining.node_join, name="node_join"),
    path("<slug:slug>/refresh/", nodes.node_refresh, name="node_refresh"),
    path("<slug:slug>/pause/", nodes.node_pause, name="node_pause"),
    path("<slug:slug>/resume/", nodes.node_resume, name="node_resume"),
    path("<slug:slug>/models/", loads.model, name="model"),
    path("<slug:slug>/models/load/", loads.model_load, name="model_load"),
    path("<slug:slug>/models/keep/", loads.model_keep, name="model_keep"),
    path("<slug:slug>/models/unload/", loads.model_unload, name="model_unload"),
    path("<slug:slug>/models/cancel/<int:pk>/", loads.model_cancel, name="model_cancel"),
    path("<slug:slug>/try/", trying.node_try, name="node_try"),
    path("<slug:slug>/try/ask/", trying.node_try_ask, name="node_try_ask"),
    path("<slug:slug>/try/<str:run_id>/", trying.node_try_part, name="node_try_part"),
    path("<slug:slug>/try/<str:run_id>/stop/", trying.node_try_stop, name="node_try_stop"),
]
schedule_urls = [
    path("", pulls_schedules.schedule_list, name="schedules"),
    path("new/", pulls_schedules.schedule_new, name="schedule_new"),
    path("<int:pk>/", pulls_schedules.schedule, name="schedule"),
    path("<int:pk>/edit/", pulls_schedules.schedule_edit, name="schedule_edit"),
    path("<int:pk>/delete/", pulls_schedules.schedule_delete, name="schedule_delete"),
    path("<int:pk>/run/", pulls_schedules.schedule_run, name="schedule_run"),
    path("<int:pk>/pause/", pulls_schedules.schedule_pause, name="schedule_pause"),
    path("<int:pk>/resume/", pulls_schedules.schedule_resume, name="schedule_resume"),
    path("<int:pk>/stop/", pulls_schedules.schedule_stop, name="schedule_stop"),
]
pull_urls = [
    path("schedules/", include(schedule_urls)),
    path("", pulls.pulls, name="pulls"),
    path("new/", pulls_new.pull_new, name="pull_new"),
    path("chosen/", pulls_new.pull_chosen, name="pull_chosen"),
    path("<int:pk>/cancel/", pulls.pull_cancel, name="pull_cancel"),
    path("<int:pk>/retry/", pulls.pull_retry, name="pull_retry"),
]
planner_urls = [
    path("", planner.planner, name="planner"),
    path("new/", planner_wants.deployment_new, name="deployment_new"),
    path("named/", planner_wants.deployment_named, name="deployment_named"),
    path("adopt/", planner_wants.planner_adopt, name="planner_adopt"),
    path("<int:pk>/", planner_wants.deployment_edit, name="deployment_edit"),
    path("<int:pk>/delete/", planner_wants.deployment_delete, name="deployment_delete"),
    path("<int:pk>/change/", planner_wants.deployment_change, name="deployment_change"),
    path("preview/", planner_apply.planner_preview, name="planner_preview"),
    path("apply/", planner_apply.planner_apply, name="planner_apply"),
    path("cancel/", planner_apply.planner_cancel, name="planner_cancel"),
    path("again/", planner_apply.planner_again, name="planner_again"),
    path("let-go/", planner_apply.planner_let_go, name="planner_let_go"),
    path("back/", planner_apply.planner_back, name="planner_back"),
    path("back/apply/", planner_apply.planner_back_apply, name="planner_back_apply"),
    path("what-if/", planner_what_if.planner_what_if, name="planner_what_if"),
    path("export/", planner_export.planner_export, name="planner_export"),
    path("export.txt", planner_export.planner_export_text, name="planner_export_text"),
    path("predictions/", planner_predictions.planner_predictions, name="planner_predictions"),
    path("gpus/<int:pk>/", planner_gpus.gpu_owner, name="gpu_owner"),
    path("gpus/<int:pk>/give-back/", planner_gpus.gpu_give_back, name="gpu_give_back"),
    path("gpus/<int:pk>/take-back/", planner_gpus.gpu_take_back, name="gpu_take_back"),
]
join_urls = [
    path("", join.join, name="join"),
    path("node.sh", join.join_script, name="join_script"),
    path("redeem/", join.join_redeem, name="join_redeem"),
    path("files/node.tar.gz", join.join_archive, name="join_archive"),
    path("files/wheels.json", join.join_wheels, name="join_wheels"),
    path("files/<str:name>", join.join_wheel, name="join_wheel"),
]
urlpatterns = [
    path("", overview.overview, name="overview"),
    path("nodes/", include(node_urls)),
    # Beside the nodes, not among them: a node may be named "new".
    path("add-machine/", joining.machine_new, name="machine_new"),
    path("add-node/", nodes.node_new, name="node_new"),
    path("find-machines/", finding.find, name="find"),
    path("find-machines/look/", finding.find_look, name="find_look"),
    path("find-machines/stop/", finding.find_stop, name="find_stop"),
    path("addresses/", addresses.addresses, name="addresses"),
    path("join/", include(join_urls)),
    path("models/", models.models, name="models"),
    path("planner/", include(planner_urls)),
    path("pulls/", include(pull_urls)),
    path("fit/", fit.fit, name="fit"),
    path("fit/file/", fit.fit_file, name="fit_file"),
    path("sign-in/", access.sign_in, name="sign_in"),
    path("sign-out/", access.sign_out, name="sign_out"),
    path("set-up/", access.set_up, name="set_up"),
    path("reset/", access.reset, name="reset"),
    re_path(r"^healthz/?$", health.healthz, name="healthz"),
    # The admin's own sign-in would know no limit on attempts.
    path("admin/login/", access.admin_sign_in),
    path("admin/", admin.site.urls),
]
