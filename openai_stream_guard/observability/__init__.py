"""Reports notices to the log, to the user's hook and to OpenTelemetry."""
