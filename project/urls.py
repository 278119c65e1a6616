from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path(
        "login/",
        LoginView.as_view(template_name="detection/login.html", redirect_authenticated_user=True),
        name="login",
    ),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("", include("detection.urls")),
]

handler400 = "detection.views.errors.bad_request"
handler403 = "detection.views.errors.forbidden"
handler404 = "detection.views.errors.not_found"
handler500 = "detection.views.errors.server_error"
