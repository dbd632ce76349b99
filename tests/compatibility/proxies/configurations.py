"""How each proxy is configured: stock as far as that goes, with nothing outside the folder that it is given.

Each function writes what its proxy reads into `folder` and returns the arguments that start it in the foreground.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Configure = Callable[[int, int, Path], list[str]]
"""Given the port to listen on, that of the server behind, and a folder; returns the program's arguments."""

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  scgi_temp_path {folder}/scgi;
  uwsgi_temp_path {folder}/uwsgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{upstream};
      {directives}
    }}
  }}
}}
"""
HAPROXY = """
global
  log stderr format raw local0
defaults
  mode {mode}
  timeout connect 5s
  timeout client {client}
  timeout server {server}
frontend here
  bind 127.0.0.1:{port}
  default_backend there
backend there
  server model 127.0.0.1:{upstream}
"""
APACHE = """
ServerRoot {folder}
ServerName localhost
PidFile {folder}/apache.pid
DefaultRuntimeDir {folder}
ErrorLog /dev/stderr
Listen 127.0.0.1:{port}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
User www-data
Group www-data
ProxyPass / http://127.0.0.1:{upstream}/
{directives}
"""
SQUID = """
http_port 127.0.0.1:{port} accel defaultsite=localhost no-vhost
cache_peer 127.0.0.1 parent {upstream} 0 no-query originserver
http_access allow all
cache deny all
pid_filename none
access_log none
cache_log /dev/null
cache_effective_user proxy
netdb_filename none
pinger_enable off
max_filedescriptors 1024
shutdown_lifetime 0 seconds
{directives}
"""


def nginx(*directives: str) -> Configure:
    """nginx, with these directives in its location. Without a master it is one process, and drops no rights."""

    def configure(port: int, upstream: int, folder: Path) -> list[str]:
        wanted = " ".join(directives)
        text = NGINX.format(port=port, upstream=upstream, folder=folder, directives=wanted)
        return ["-c", _written(folder, "nginx.conf", text), "-e", "stderr"]

    return configure


def haproxy(mode: str = "http", server: str = "60s") -> Configure:
    """HAProxy, which has no timeouts unless told; those of its manual's examples are a minute."""

    def configure(port: int, upstream: int, folder: Path) -> list[str]:
        text = HAPROXY.format(port=port, upstream=upstream, mode=mode, client="60s", server=server)
        return ["-db", "-f", _written(folder, "haproxy.cfg", text)]

    return configure


def apache(*directives: str) -> Configure:
    """Apache with mod_proxy."""

    def configure(port: int, upstream: int, folder: Path) -> list[str]:
        modules, wanted = "/usr/lib/apache2/modules", "\n".join(directives)
        text = APACHE.format(port=port, upstream=upstream, folder=folder, modules=modules, directives=wanted)
        return ["-D", "FOREGROUND", "-f", _written(folder, "apache.conf", text)]

    return configure


def squid(*directives: str) -> Configure:
    """Squid as an accelerator."""

    def configure(port: int, upstream: int, folder: Path) -> list[str]:
        text = SQUID.format(port=port, upstream=upstream, directives="\n".join(directives))
        return ["-N", "-d", "1", "-n", f"port{port}", "-f", _written(folder, "squid.conf", text)]

    return configure


def envoy(manager: dict[str, Any] | None = None, route: dict[str, Any] | None = None) -> Configure:
    """Envoy, with more for its HTTP connection manager and for its route."""

    def configure(port: int, upstream: int, folder: Path) -> list[str]:
        router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
        connections = (
            "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        )
        routes = [{"match": {"prefix": "/"}, "route": {"cluster": "model", **(route or {})}}]
        listening = {
            "@type": connections,
            "stat_prefix": "here",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
            **(manager or {}),
        }
        filters = [{"name": "http", "typed_config": listening}]
        endpoint = {"endpoint": {"address": _address(upstream)}}
        cluster = {
            "name": "model",
            "type": "STATIC",
            "load_assignment": {"cluster_name": "model", "endpoints": [{"lb_endpoints": [endpoint]}]},
        }
        listener = {"name": "here", "address": _address(port), "filter_chains": [{"filters": filters}]}
        text = json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}})
        # A hot restart wants shared memory of a fixed name, so that there could be only one.
        return ["-c", _written(folder, "envoy.json", text), "--disable-hot-restart", "--concurrency", "1", "-l", "warn"]

    return configure


def caddy(port: int, upstream: int, folder: Path) -> list[str]:
    """Caddy."""
    proxy = {"handler": "reverse_proxy", "upstreams": [{"dial": f"127.0.0.1:{upstream}"}]}
    server = {
        "listen": [f"127.0.0.1:{port}"],
        "automatic_https": {"disable": True},
        "routes": [{"handle": [proxy]}],
    }
    text = json.dumps(
        {
            "admin": {"disabled": True, "config": {"persist": False}},
            "storage": {"module": "file_system", "root": str(folder)},
            "apps": {"http": {"grace_period": "100ms", "servers": {"here": server}}},
        }
    )
    return ["run", "--config", _written(folder, "caddy.json", text)]


def mitmproxy(*settings: str) -> Configure:
    """mitmproxy before one server, with these settings."""

    def configure(port: int, upstream: int, folder: Path) -> list[str]:
        wanted = [part for setting in (f"confdir={folder}", *settings) for part in ("--set", setting)]
        where = ["--mode", f"reverse:http://127.0.0.1:{upstream}", "--listen-host", "127.0.0.1", "-p", str(port)]
        return [*where, *wanted]

    return configure


def faulty(*options: str) -> Configure:
    """The chaos proxy `faulty`, which knows of TCP only."""

    def configure(port: int, upstream: int, folder: Path) -> list[str]:
        return [f"127.0.0.1:{port}", f"127.0.0.1:{upstream}", *options]

    return configure


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)
