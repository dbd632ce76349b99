"""Why a stream broke, and what helps: for the error, the report and the doctor alike."""
