"""The web of a recording: files by host name, over HTTP and HTTPS.

Usage: web.py DIRECTORY CERTIFICATE ADDRESS. A request for http(s)://HOST/PATH is answered with the file
DIRECTORY/HOST/PATH; a file PATH.location holds where to send the client instead. All else is 404. Nothing is logged,
nothing is written, nothing is asked of anybody.
"""

import http.server
import os
import ssl
import sys
import threading

ROOT, CERTIFICATE, ADDRESS = sys.argv[1:4]


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        host = self.headers.get("Host", "").split(":")[0]
        path = self.path.split("?")[0].split("#")[0]
        file = os.path.normpath(f"{ROOT}/{host}/{path}")
        if os.path.isdir(file):
            file += "/index.html"
        if not file.startswith(ROOT + "/") or not host:
            return self.reply(404, b"")
        if os.path.isfile(file + ".location"):
            with open(file + ".location") as location:
                return self.reply(302, b"", ("Location", location.read().strip()))
        if not os.path.isfile(file):
            return self.reply(404, b"{}")
        with open(file, "rb") as body:
            self.reply(200, body.read())

    do_HEAD = do_GET

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.reply(200, b"{}")

    def reply(self, code, body, *headers):
        self.send_response(code)
        kind = "text/html" if self.path.startswith("/simple/") else "application/octet-stream"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for header in headers:
            self.send_header(*header)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(port, context=None):
    server = http.server.ThreadingHTTPServer((ADDRESS, port), Page)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE)
threading.Thread(target=serve, args=(80,), daemon=True).start()
serve(443, context)
