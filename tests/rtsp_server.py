"""A real RTSP server (GStreamer's), for the tests: run by the system's Python, which has GStreamer's bindings.

Says its port on standard output. Streams: /h264 and /mjpeg. Arguments: width, height, port (0: a free one), and perhaps
``--basic`` or ``--digest``, where who calls must log in, and ``--tls=FILE`` with a certificate and its key.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

USER, PASSWORD = "camera", "s3cret @:/?#%"  # what must be encoded in a URL


def main(width: str, height: str, port: str, *options: str) -> None:
    Gst.init(None)
    size = f"width={width},height={height},framerate=15/1"
    scene = f"videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,{size}"
    h264 = f"( {scene} ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay name=pay0 pt=96 )"
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(port)
    add(server, "/h264", h264)
    add(server, "/mjpeg", f"( {scene} ! jpegenc ! rtpjpegpay name=pay0 pt=26 )")
    if options:
        server.set_auth(rules(options))
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def add(server: GstRtspServer.RTSPServer, path: str, launch: str) -> None:
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(launch)
    factory.set_shared(True)
    permissions = GstRtspServer.RTSPPermissions.new()
    permissions.add_permission_for_role("user", "media.factory.access", True)
    permissions.add_permission_for_role("user", "media.factory.construct", True)
    factory.set_permissions(permissions)
    server.get_mount_points().add_factory(path, factory)


def rules(options: tuple[str, ...]) -> GstRtspServer.RTSPAuth:
    auth, user = GstRtspServer.RTSPAuth.new(), GstRtspServer.RTSPToken()
    user.set_string("media.factory.role", "user")
    if "--digest" in options:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(USER, PASSWORD, user)
    elif "--basic" in options:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(USER, PASSWORD), user)
    else:
        auth.set_default_token(user)
    for option in options:
        if option.startswith("--tls="):
            auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(option.removeprefix("--tls=")))
    return auth


if __name__ == "__main__":
    main(*sys.argv[1:])
