"""The companion's library, by stage."""
