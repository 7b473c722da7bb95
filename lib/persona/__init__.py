"""The ethical-persona diagnostic: measured by `measure` (needs torch), analysed by the rest (does not)."""

# What identifies a row in each file of the diagnostic.
SCORE_KEY = ("id", "lens", "wording", "order")
TEXT_KEY = ("id", "wording")
DILEMMA_KEY = ("id", "order")
