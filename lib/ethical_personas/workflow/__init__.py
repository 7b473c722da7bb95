"""The command line, checks, execution of notebooks: on top of everything, imported by the Snakefile alone."""
