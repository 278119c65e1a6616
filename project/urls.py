from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import include, path

from detection.views import doors

urlpatterns = [
    path("admin/login/", doors.admin_login),  # before the administration's own, which it takes the place of
    path("admin/", admin.site.urls),
    path("login/", doors.login, name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("", include("detection.urls")),
]

handler400 = "detection.views.errors.bad_request"
handler403 = "detection.views.errors.forbidden"
handler404 = "detection.views.errors.not_found"
handler500 = "detection.views.errors.server_error"
