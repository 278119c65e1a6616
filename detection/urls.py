from django.urls import path

from detection.views import analyses, example, home, media, review, sightings, uploads

urlpatterns = [
    path("", home.home, name="home"),
    path("upload/", uploads.upload, name="upload"),
    path("media/", media.media_list, name="media_list"),
    path("media/<int:pk>/", media.media_page, name="media"),
    path("media/<int:pk>/file", media.media_file, name="media_file"),
    path("media/<int:pk>/preview", media.media_preview, name="media_preview"),
    path("media/<int:pk>/proxy", media.media_proxy, name="media_proxy"),
    path("media/<int:pk>/proxy/state", media.proxy_state, name="proxy_state"),
    path("media/<int:pk>/proxy/retry", media.proxy_retry, name="proxy_retry"),
    path("media/<int:pk>/remove", media.media_remove, name="media_remove"),
    path("sightings/", sightings.sightings, name="sightings"),
    path("sightings/<int:pk>/thumbnail", sightings.sighting_thumbnail, name="sighting_thumbnail"),
    path("sightings/<int:pk>/verdict", review.verdict, name="verdict"),
    path("sightings/<int:pk>/undo", review.undo, name="undo"),
    path("analyses/<int:pk>/progress", analyses.analysis_progress, name="analysis_progress"),
    path("analyses/<int:pk>/retry", analyses.analysis_retry, name="analysis_retry"),
    path("analyses/<int:pk>/cancel", analyses.analysis_cancel, name="analysis_cancel"),
    path("analyses/<int:pk>/again", analyses.analysis_again, name="analysis_again"),
    path("example/remove", example.example_remove, name="example_remove"),
]
