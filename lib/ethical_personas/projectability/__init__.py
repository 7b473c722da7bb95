"""06: how far safety and persona carry beyond the training set."""
