"""Network classes, and which structure each of their channels stands for (torch is not needed for that)."""
