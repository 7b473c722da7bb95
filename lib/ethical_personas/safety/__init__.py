"""04: judged responses and gains over the source."""
