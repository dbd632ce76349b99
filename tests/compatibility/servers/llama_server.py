"""llama.cpp's HTTP server, out of the wheel `xllamacpp`: MODEL PORT PING, the last in seconds between keep-alives.

With two slots, and prompts read in one go: while it reads a long one for a request, the other gets no token.
"""

from __future__ import annotations

import sys
import threading

import xllamacpp

model, port, ping = sys.argv[1:]
wanted = xllamacpp.CommonParams()
wanted.model.path = model
wanted.model_alias = {"tiny"}
wanted.hostnames = ["127.0.0.1"]
wanted.port = int(port)
wanted.n_ctx = 8192
wanted.n_parallel = 2
wanted.n_batch = 4096
wanted.cpuparams.n_threads = 1
wanted.warmup = False
wanted.use_jinja = True
wanted.sse_ping_interval = int(ping)
server = xllamacpp.Server(wanted)
print(server.listening_address, xllamacpp.BUILD_INFO, flush=True)
threading.Event().wait()
