"""nginx/nixery-site.conf: nginx accepts it unchanged, and TLS and HTTP/2 work as documented."""

import http.client
import shutil
import socket
import ssl
import subprocess
from contextlib import contextmanager

import pytest

from engines import check, program
from fabricated import Served, temporary_directory
from registry import ROOT, free_port, wait_for

NGINX = ROOT / "nginx"
CONF = """
user root;
pid {dir}/nginx.pid;
error_log {dir}/nginx-error.log;
events {{ }}
http {{
  access_log {dir}/access.log;
  client_body_temp_path {dir}/temp; proxy_temp_path {dir}/temp; fastcgi_temp_path {dir}/temp; uwsgi_temp_path {dir}/temp; scgi_temp_path {dir}/temp;
  include {dir}/nixery-site.conf;
}}
"""


def make_certificate(directory):
    check(program("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=registry.example.org",
          "-addext", "subjectAltName=DNS:registry.example.org", "-keyout", f"{directory}/key.pem", "-out", f"{directory}/cert.pem")  # fmt: skip


class Site(Served):
    """The sample site with the test's paths and ports."""

    def start_nginx(self):
        make_certificate(self.dir)
        self.plain_port = free_port()
        text = (NGINX / "nixery-site.conf").read_text()
        for old, new in {
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};", "listen 443 ": f"listen 127.0.0.1:{self.port} ",
            "/etc/nginx/nixery/": f"{self.dir}/", "/etc/ssl/certs/registry.example.org.pem": f"{self.dir}/cert.pem",
            "/etc/ssl/private/registry.example.org.key": f"{self.dir}/key.pem",
        }.items():  # fmt: skip
            assert old in text
            text = text.replace(old, new)
        text = "\n".join(line for line in text.splitlines() if "listen [::]" not in line)
        (self.dir / "nixery-site.conf").write_text(text)
        http_conf = (NGINX / "nixery-http.conf").read_text()
        http_conf = http_conf.replace("/var/lib/nixery/tree", str(self.tree)).replace("/run/nixery/nixery.sock", str(self.socket))
        (self.dir / "nixery-http.conf").write_text(http_conf)
        shutil.copy(NGINX / "nixery-locations.conf", self.dir)
        shutil.copy(NGINX / "nixery-web.conf", self.dir)
        shutil.copy(NGINX / "nixery-status.conf", self.dir)
        (self.dir / "nginx.conf").write_text(CONF.format(dir=self.dir))
        self.nginx = subprocess.Popen(
            [program("nginx", "nginx"), "-c", self.dir / "nginx.conf", "-e", self.dir / "nginx-error.log", "-g", "daemon off;"]
        )
        wait_for(self.answers, "nginx to answer over TLS")

    def answers(self):
        assert self.nginx.poll() is None, self.error_log()
        try:
            return self.ask("/v2/").status == 200
        except OSError:
            return False

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.dir / "cert.pem"))

    def ask(self, target: str, port: int | None = None) -> http.client.HTTPResponse:
        with socket.create_connection(("127.0.0.1", port or self.port), timeout=30) as plain:
            connection = plain if port else self.context().wrap_socket(plain, server_hostname="registry.example.org")
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: registry.example.org\r\nConnection: close\r\n\r\n".encode())
            response = http.client.HTTPResponse(connection)
            response.begin()
            response.body = response.read()
            return response

    def curl(self, *words: str) -> str:
        """Over HTTP/2, which Python does not support."""
        return check(program("curl", "curl"), "-s", "--http2", "--cacert", f"{self.dir}/cert.pem", "--resolve",
                     f"registry.example.org:{self.port}:127.0.0.1", *words)  # fmt: skip

    @property
    def url(self) -> str:
        return f"https://registry.example.org:{self.port}"


@contextmanager
def sample_site():
    with temporary_directory() as directory:
        site = Site(directory)
        try:
            site.tree.mkdir()
            site.start_nginx()
            yield site
        finally:
            site.stop()


@pytest.fixture(scope="module")
def site():
    with sample_site() as site:
        site.digest = site.files_of.add_busybox("hello")
        yield site


def test_nginx_accepts_the_sample_site_unchanged(directory):
    """Everything except the certificate's path, including ports and addresses."""
    make_certificate(directory)
    for name in ("nixery-site.conf", "nixery-http.conf", "nixery-locations.conf", "nixery-web.conf", "nixery-status.conf"):
        text = (NGINX / name).read_text().replace("/etc/nginx/nixery/", f"{directory}/")
        text = text.replace("/etc/ssl/certs/registry.example.org.pem", f"{directory}/cert.pem")
        (directory / name).write_text(text.replace("/etc/ssl/private/registry.example.org.key", f"{directory}/key.pem"))
    (directory / "nginx.conf").write_text(CONF.format(dir=directory))
    tested = subprocess.run([program("nginx", "nginx"), "-t", "-c", directory / "nginx.conf"], capture_output=True, text=True)
    assert tested.returncode == 0 and "[warn]" not in tested.stderr, tested.stderr


def test_port_80_redirects_to_https(site):
    answer = site.ask("/v2/hello/manifests/latest?ns=x", port=site.plain_port)
    assert (answer.status, answer.headers["Location"]) == (308, "https://registry.example.org/v2/hello/manifests/latest?ns=x")


def test_a_manifest_is_served_over_http_1_and_http_2(site):
    answer = site.ask("/v2/hello/manifests/latest")
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (200, site.digest)
    target = f"{site.url}/v2/hello/manifests/latest"
    assert site.curl(target).encode() == answer.body
    seen = site.curl("-o", "/dev/null", "-w", "%{http_version} %{response_code} %header{docker-content-digest}", target)
    assert seen == f"2 200 {site.digest}"


def test_conditions_ranges_and_errors_are_the_same_over_http_2(site):
    target = f"{site.url}/v2/hello/manifests/{site.digest}"
    status = ["-o", "/dev/null", "-w", "%{http_version} %{response_code} %header{content-type}"]
    assert site.curl(*status, "-H", f'If-None-Match: "{site.digest}"', target).startswith("2 304")
    assert site.curl(*status, "-r", "0-3", target).startswith("2 206")
    assert site.curl(*status, "-r", "99999-", target) == "2 416 application/json"
    assert site.curl(*status, "-X", "DELETE", target) == "2 405 application/json"
    assert site.curl(*status, f"{site.url}/v2/absent/manifests/latest") == "2 503 application/json"
    assert site.curl(*status, "--path-as-is", f"{site.url}/v2/../x") == "2 400 application/json"
    assert site.curl(*status, f"{site.url}/v2/%zz") == "2 400 application/json"
    assert site.curl(*status, "-T", str(NGINX / "README.md"), f"{site.url}/v2/hello/blobs/uploads/1") == "2 405 application/json"


def test_only_tls_1_2_and_1_3_are_supported(site):
    for version in ("1.2", "1.3"):
        site.curl(f"--tlsv{version}", "--tls-max", version, f"{site.url}/v2/")
    for old in ("-tls1", "-tls1_1"):
        words = ["s_client", old, "-cipher", "ALL:@SECLEVEL=0", "-connect", f"127.0.0.1:{site.port}"]
        done = subprocess.run([program("openssl", "openssl"), *words], input=b"", capture_output=True)
        assert done.returncode != 0 and b"alert protocol version" in done.stderr, done.stderr


def test_plain_http_on_the_tls_port_is_an_error_in_json(site):
    answer = site.ask("/v2/", port=site.port)
    assert answer.status == 400 and answer.headers["Content-Type"] == "application/json"
    assert b"HTTPS" in answer.body


def test_other_paths_are_a_short_plain_page(site):
    answer = site.ask("/nothing/here")
    assert (answer.status, answer.headers["Content-Type"]) == (404, "text/plain")
    assert b"docker pull registry.example.org/" in answer.body
