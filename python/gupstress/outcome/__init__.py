"""What was found: results, their verdicts, thresholds and files. Nothing here runs anything."""
