"""02: LoRA fine-tuning of one cell."""
