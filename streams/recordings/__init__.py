"""Recorded markets as events: one file a format, and one that tells them apart."""
