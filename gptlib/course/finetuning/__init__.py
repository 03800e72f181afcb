"""Chapter 8: fine-tuning."""
