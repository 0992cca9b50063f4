"""Files that ingress and workers share: one narrow port, and where they are kept."""
