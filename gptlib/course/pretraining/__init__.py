"""Chapter 6: a model of GPT-2's shape, trained in earnest."""
