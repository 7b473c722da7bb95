"""Figures of every notebook, in one style."""
