"""Judges: who says `declined` or `complied`, and how far each can be trusted."""
