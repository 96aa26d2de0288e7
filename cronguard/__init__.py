"""cronguard: one word in front of a scheduled command; it cannot run twice, hang or get lost."""

__version__ = "0.1.0"
