"""05: shifts, signatures, stance, voice and how far each lens can be trusted."""
