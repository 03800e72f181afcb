"""Chapter 6's own code: its checks, drawings and figures, and the runs behind its numbers."""
