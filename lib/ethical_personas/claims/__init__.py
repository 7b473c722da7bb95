"""06: the evidence for each claim and the verdict computed from it."""
