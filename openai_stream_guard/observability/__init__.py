"""Who is told: the log, the user's hook, OpenTelemetry."""
