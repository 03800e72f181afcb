"""Chapter 7's own code: its checks, drawings and figures, and the runs behind its numbers."""
