"""The loopback server: OpenAI's streaming endpoints over real sockets, healthy and broken."""
