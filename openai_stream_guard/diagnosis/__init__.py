"""Why a stream broke, and what helps. The error, the report and the doctor all use it."""
