"""Real proxies before a server that breaks its streams: what the SDK sees, the guard heals and the doctor finds."""
