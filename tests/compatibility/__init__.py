"""The guard beside others: SDK releases, clients, frameworks, tracers, proxies, servers, type checkers."""
